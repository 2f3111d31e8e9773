// Directions in which rows of a matrix differ most, to a few digits; by subspace iteration, in
// steps of 4 * rows * width * axes flops.
#ifndef SOFTPACK_CPU_PRINCIPAL_AXES_H_
#define SOFTPACK_CPU_PRINCIPAL_AXES_H_

#include <cstdint>

namespace softpack {

constexpr uint32_t kMostAxes = 8;
// Whatever is rounded in the axes, a vector's squared length along all of them is at most this many
// times its own.
constexpr double kLongestAxes = 1 + 1e-5;

// Fills axes [most, stride] and says how many are used, zeros elsewhere: as many as leave little of
// the variance, at most `most`, none if the rows are equal. Returns false if allocation fails.
bool FindPrincipalAxes(const float* rows, uint64_t count, uint64_t width, uint64_t stride,
                       uint32_t most, float* axes, uint32_t* used);

}  // namespace softpack

#endif  // SOFTPACK_CPU_PRINCIPAL_AXES_H_
