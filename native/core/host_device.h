// Marks functions that CUDA compiles for the device too.
#ifndef SOFTPACK_CORE_HOST_DEVICE_H_
#define SOFTPACK_CORE_HOST_DEVICE_H_

#ifdef __CUDACC__
#define SOFTPACK_HOST_DEVICE __host__ __device__
#else
#define SOFTPACK_HOST_DEVICE
#endif

#endif  // SOFTPACK_CORE_HOST_DEVICE_H_
