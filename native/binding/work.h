// A native call, read from its arguments and ready to run: now, or on a thread of libuv's pool.
#ifndef SOFTPACK_BINDING_WORK_H_
#define SOFTPACK_BINDING_WORK_H_

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "binding/arguments.h"
#include "binding/napi_setup.h"
#include "core/guard.h"

namespace softpack {

// Returns a status. Holds plain data only: it may run on any thread.
using Work = std::function<int()>;

// Resolves a promise with the status of its work, whatever that throws. Touches no JavaScript while
// it works; keeps the arrays alive.
class PromiseWorker : public Napi::AsyncWorker {
 public:
  PromiseWorker(const Arguments& arguments, Work work)
      : Napi::AsyncWorker(arguments.Env(), "softpack"),
        work_(std::move(work)),
        deferred_(Napi::Promise::Deferred::New(arguments.Env())) {
    for (const Napi::Value& array : arguments.arrays()) {
      arrays_.push_back(Napi::Persistent(array.As<Napi::Object>()));
    }
  }

  Napi::Promise Promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override { status_ = Guarded(work_); }
  void OnOK() override { deferred_.Resolve(Napi::Number::New(Env(), status_)); }
  // Node.js cancels work that has not started when an environment ends.
  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }

 private:
  Work work_;
  Napi::Promise::Deferred deferred_;
  std::vector<Napi::ObjectReference> arrays_;
  int status_ = 0;
};

inline Napi::Value RunNow(const Arguments& arguments, const Work& work) {
  return Napi::Number::New(arguments.Env(), Guarded(work));
}

inline Napi::Value RunLater(const Arguments& arguments, Work work) {
  auto worker = std::make_unique<PromiseWorker>(arguments, std::move(work));
  const Napi::Promise promise = worker->Promise();
  worker->Queue();
  worker.release();  // queued: deletes itself when done
  return promise;
}

}  // namespace softpack

#endif  // SOFTPACK_BINDING_WORK_H_
