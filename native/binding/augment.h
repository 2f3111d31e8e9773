#ifndef SOFTPACK_BINDING_AUGMENT_H_
#define SOFTPACK_BINDING_AUGMENT_H_

#include "binding/work.h"

namespace softpack {

Work ReadAugment(Arguments& arguments);

}  // namespace softpack

#endif  // SOFTPACK_BINDING_AUGMENT_H_
