#include "binding/label_calls.h"

#include <condition_variable>
#include <map>
#include <mutex>

namespace softpack {
namespace {

// kCallsTag of native/tensorflow/operations.cc.
constexpr napi_type_tag kTag = {0x3b60d7c5e2f94a18, 0xb5d41f7093ce628a};

struct Entry {
  LentCall lent;
  int users = 0;
  int status = SOFTPACK_NOT_RUN;
};

struct Calls {
  std::mutex mutex;
  std::condition_variable given;
  std::map<int32_t, std::unique_ptr<Entry>> entries;
  int32_t last = 0;
};

// Never destroyed: threads of TensorFlow may outlive every environment.
Calls& AllCalls() {
  static auto* const calls = new Calls;
  return *calls;
}

const SoftpackLabelCall* Take(int32_t number) {
  Calls& calls = AllCalls();
  const std::lock_guard<std::mutex> lock(calls.mutex);
  const auto found = calls.entries.find(number);
  if (found == calls.entries.end()) return nullptr;
  ++found->second->users;
  return &found->second->lent.call;
}

void Give(const SoftpackLabelCall* call, int status) {
  Calls& calls = AllCalls();
  const std::lock_guard<std::mutex> lock(calls.mutex);
  for (const auto& [number, entry] : calls.entries) {
    if (&entry->lent.call != call) continue;
    entry->status = status;
    --entry->users;
    calls.given.notify_all();
    return;
  }
}

constexpr SoftpackLabelCalls kCalls = {SOFTPACK_LABEL_CALLS_VERSION, SOFTPACK_ABI_VERSION, Take,
                                       Give};

}  // namespace

int32_t Lend(const LentCall& call) {
  auto entry = std::make_unique<Entry>();
  entry->lent = call;
  Calls& calls = AllCalls();
  const std::lock_guard<std::mutex> lock(calls.mutex);
  do {
    calls.last = calls.last == INT32_MAX ? 1 : calls.last + 1;
  } while (calls.entries.count(calls.last) != 0);
  calls.entries[calls.last] = std::move(entry);
  return calls.last;
}

int Withdraw(int32_t number) {
  std::unique_ptr<Entry> entry;  // freed outside of the lock
  Calls& calls = AllCalls();
  std::unique_lock<std::mutex> lock(calls.mutex);
  const auto found = calls.entries.find(number);
  if (found == calls.entries.end()) return SOFTPACK_NOT_RUN;
  calls.given.wait(lock, [&] { return found->second->users == 0; });
  entry = std::move(found->second);
  calls.entries.erase(found);
  lock.unlock();
  return entry->status;
}

// labelCalls(): External
Napi::Value LabelCalls(const Napi::CallbackInfo& info) {
  const auto external =
      Napi::External<SoftpackLabelCalls>::New(info.Env(), const_cast<SoftpackLabelCalls*>(&kCalls));
  external.TypeTag(&kTag);
  return external;
}

}  // namespace softpack
