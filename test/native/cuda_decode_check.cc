#include "cuda_decode_check.h"

#include <functional>
#include <memory>
#include <thread>

#include "cpu/cpu_backend.h"
#include "cuda_decode_results.h"

namespace softpack {
namespace testing {
namespace {

void CheckDecoder(bool on_device) {
  uint32_t seed = 100;
  for (const DecodeCase& shape : kDecodes) {
    if (brief && shape.bases == 0) continue;
    const uint64_t count = kCounts[seed % 4];
    const uint64_t most = brief ? 7 : 97;
    const uint32_t head = seed % 3;
    const uint32_t loss = seed / 3 % 2;
    for (uint32_t method = kSoftpackMethodLatent; method <= kSoftpackMethodSplit; ++method) {
      for (const uint64_t labels_count : {most, count}) {
        if (brief && labels_count != most) continue;
        DecodeData data(shape, labels_count, ++seed);
        data.spec.head = labels_count == most ? head : (head + 1) % 3;
        data.spec.head_parameter = data.spec.head == kSoftpackHeadClamp ? 1e-3f : 2.0f;
        data.spec.method = method;
        const bool listed = seed % 2 == 0;
        // Emulated tensor cores are slow: one location of the arrays is enough.
        if (method >= kSoftpackMethodBfloat && emulated && (on_device || labels_count != most))
          continue;
        const std::string name = std::string(shape.name) + ", " + kMethodNames[method] + ", " +
                                 kHeadNames[data.spec.head] + ", " + std::to_string(labels_count) +
                                 (listed ? " listed" : " labels") + (on_device ? " there" : "");
        Decoders decoders;
        const int status = cuda->decoder_create(&data.spec, &decoders.on_cuda);
        if (status == kSoftpackUnsupportedMethod) continue;  // told by CheckMethods
        Expect(status == kSoftpackOk, name + " " + Reason(status));
        if (status != kSoftpackOk) continue;
        if (method <= kSoftpackMethodFixed) {
          Expect(cpu->decoder_create(&data.spec, &decoders.on_cpu) == kSoftpackOk, name);
        }
        const SoftpackLabels labels = data.Labels(labels_count, listed);
        CheckDecodeInto<float>(kSoftpackFloat32, name, data, labels, decoders, method, on_device);
        // The code after the product is the same for every method.
        if (method >= kSoftpackMethodBfloat && labels_count != most) continue;
        CheckDecodeInto<uint16_t>(kSoftpackFloat16, name + " f16", data, labels, decoders, method,
                                  on_device);
        CheckDecodeInto<uint16_t>(kSoftpackBfloat16, name + " bf16", data, labels, decoders, method,
                                  on_device);
        if (data.spec.head != kSoftpackHeadIdentity) {
          CheckKl(name + " loss", data, labels, decoders, method, loss, on_device, false);
          CheckKl(name + " loss in place", data, labels, decoders, method, 1 - loss, on_device,
                  true);
          if (labels_count == most) {
            CheckKlAs(kSoftpackFloat16, name + " loss f16", data, labels, decoders, on_device,
                      loss == 0);
            CheckKlAs(kSoftpackBfloat16, name + " loss bf16", data, labels, decoders, on_device,
                      loss == 1);
          }
        }
        if (labels_count == most) CheckWrongLabels(name, data, decoders, on_device);
      }
    }
  }
}

// Enough labels for the methods that only pay for many.
void CheckManyLabels(bool on_device) {
  uint32_t seed = 200;
  for (const DecodeCase& shape : kManyLabels) {
    const uint64_t count = kManyCounts[++seed % 4];
    if (brief && shape.classes != 7 && shape.classes != 33) continue;
    // Emulated threads are slow: one location of the arrays is enough.
    if (emulated && on_device) continue;
    DecodeData data(shape, count, seed);
    data.spec.head = seed % 5 == 0 ? kSoftpackHeadIdentity : kSoftpackHeadClamp;
    data.spec.head_parameter = 1e-2f;
    data.spec.method = kSoftpackMethodFixed;
    const std::string name = std::string(shape.name) + ", fixed, " + kHeadNames[data.spec.head] +
                             ", " + std::to_string(count) + " labels" + (on_device ? " there" : "");
    Decoders decoders;
    const int status = cuda->decoder_create(&data.spec, &decoders.on_cuda);
    Expect(status == kSoftpackOk, name + " " + Reason(status));
    Expect(cpu->decoder_create(&data.spec, &decoders.on_cpu) == kSoftpackOk, name);
    if (status != kSoftpackOk) continue;
    const SoftpackLabels labels = data.Labels(count, seed % 2 == 0);
    const auto decode = [&](auto element, uint32_t type, const char* suffix) {
      CheckDecodeInto<decltype(element)>(type, name + suffix, data, labels, decoders,
                                         data.spec.method, on_device);
    };
    decode(float{}, kSoftpackFloat32, "");
    if (brief) continue;
    decode(uint16_t{}, kSoftpackFloat16, " f16");
    decode(uint16_t{}, kSoftpackBfloat16, " bf16");
  }
}

}  // namespace

void CheckDecoders(bool on_device) {
  CheckDecoder(on_device);
  CheckManyLabels(on_device);
}

void CheckTiles() {
  const DecodeCase shape = {"several tiles", 190, 3, 5, 16, 4, true, brief ? 3u : 0u, true};
  const uint64_t count = brief ? 130 : 260;
  for (const uint32_t method : {kSoftpackMethodBfloat, kSoftpackMethodSplit}) {
    for (uint32_t head = kSoftpackHeadIdentity; head <= kSoftpackHeadSoftmax; ++head) {
      if (brief && head != kSoftpackHeadSoftmax) continue;
      DecodeData data(shape, count, 300 + head);
      data.spec.head = head;
      data.spec.head_parameter = head == kSoftpackHeadClamp ? 1e-3f : 2.0f;
      data.spec.method = method;
      Decoders decoders;
      const int status = cuda->decoder_create(&data.spec, &decoders.on_cuda);
      if (status == kSoftpackUnsupportedMethod) return;
      const std::string name =
          std::string(shape.name) + ", " + kMethodNames[method] + ", " + kHeadNames[head];
      Expect(status == kSoftpackOk, name + " " + Reason(status));
      if (status != kSoftpackOk) continue;
      const SoftpackLabels labels = data.Labels(count, false);
      CheckDecodeInto<float>(kSoftpackFloat32, name, data, labels, decoders, method, false);
      if (head == kSoftpackHeadIdentity) continue;
      CheckKl(name + " loss", data, labels, decoders, method, kSoftpackLossKl, false, true);
    }
  }
}

void CheckMethods() {
  DecodeData data(kDecodes[1], 5, 7);
  for (uint32_t method = kSoftpackMethodLatent; method <= kSoftpackMethodSplit; ++method) {
    data.spec.method = method;
    Decoders decoders;
    if (cuda->decoder_create(&data.spec, &decoders.on_cuda) == kSoftpackUnsupportedMethod) {
      Expect(method >= kSoftpackMethodBfloat, "every device decodes exactly");
      std::printf("skipped: %s (this device has no units for it)\n", kMethodNames[method]);
    }
  }
  data.spec.method = kSoftpackMethodAuto;
  for (const uint32_t precision : {kSoftpackPrecisionExact, kSoftpackPrecisionFast}) {
    data.spec.precision = precision;
    Decoders decoders;
    const int status = cuda->decoder_create(&data.spec, &decoders.on_cuda);
    Expect(status == kSoftpackOk, "auto " + Reason(status));
    cpu->decoder_create(&data.spec, &decoders.on_cpu);
    if (status != kSoftpackOk) continue;
    SoftpackDecoderInfo here = {}, there = {};
    cpu->decoder_info(decoders.on_cpu, &here);
    cuda->decoder_info(decoders.on_cuda, &there);
    Expect(here.method == there.method, "auto chooses the CPU's method");
  }
}

void CheckThreads() {
  const int callers = brief ? 2 : 12;
  const DecodeCase& shape = kDecodes[2];
  DecodeData data(shape, 97, 11);
  data.spec.head = kSoftpackHeadSoftmax;
  data.spec.head_parameter = 2.0f;
  data.spec.method = kSoftpackMethodFixed;
  Decoders decoders;
  const int created = cuda->decoder_create(&data.spec, &decoders.on_cuda);
  Expect(created == kSoftpackOk, "decoder for threads " + Reason(created));
  if (created != kSoftpackOk) return;
  std::vector<float> expected(97 * shape.classes);
  SoftpackDecodeArgs args{data.Labels(97, true), expected.data(), kSoftpackFloat32, 1};
  Expect(cuda->decode(decoders.on_cuda, &args) == kSoftpackOk, "decode");
  std::vector<std::thread> threads;
  std::vector<int> same(callers, 1);
  for (int t = 0; t < callers; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 5; ++round) {
        std::vector<float> found(expected.size(), NAN);
        SoftpackDecodeArgs own = args;
        own.out = found.data();
        if (cuda->decode(decoders.on_cuda, &own) != kSoftpackOk || found != expected) same[t] = 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  Expect(std::count(same.begin(), same.end(), 1) == callers,
         "callers at once do not disturb each other");
}

}  // namespace testing
}  // namespace softpack
