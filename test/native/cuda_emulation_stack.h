// Switching between the stacks of the emulation's threads.
#ifndef SOFTPACK_TESTING_CUDA_EMULATION_STACK_H_
#define SOFTPACK_TESTING_CUDA_EMULATION_STACK_H_

#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace softpack_emulation {

constexpr size_t kStackBytes = 256 << 10;

#if defined(__x86_64__)

// Saves the registers that a call preserves on the current stack and goes on with another one: a
// few nanoseconds, where swapcontext makes two system calls. A jump, because a processor predicts
// that RET returns to the last call, which it never does here.
extern "C" void SoftpackSwitchStack(void** save, void* load);
asm(R"(
.text
.globl SoftpackSwitchStack
.type SoftpackSwitchStack,@function
SoftpackSwitchStack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rcx
  jmpq *%rcx
.size SoftpackSwitchStack,.-SoftpackSwitchStack
)");

struct Context {
  void* stack_pointer = nullptr;
};

inline void Prepare(Context& context, char* stack, void (*entry)()) {
  auto* top = reinterpret_cast<void**>(stack + kStackBytes);
  *--top = nullptr;  // where entry would return to; keeps the stack aligned as after a call
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  context.stack_pointer = top;
}

inline void Switch(Context& from, Context& to) {
  SoftpackSwitchStack(&from.stack_pointer, to.stack_pointer);
}

#else

struct Context {
  ucontext_t context;
};

inline void Prepare(Context& context, char* stack, void (*entry)()) {
  getcontext(&context.context);
  context.context.uc_stack.ss_sp = stack;
  context.context.uc_stack.ss_size = kStackBytes;
  context.context.uc_link = nullptr;
  makecontext(&context.context, entry, 0);
}

inline void Switch(Context& from, Context& to) { swapcontext(&from.context, &to.context); }

#endif

}  // namespace softpack_emulation

#endif  // SOFTPACK_TESTING_CUDA_EMULATION_STACK_H_
