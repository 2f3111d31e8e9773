#include "cuda/targets.h"

namespace softpack {
namespace {

// Bytes copied to or from the host at a time.
constexpr uint64_t kMostCrossing = 64 << 20;

uint64_t CrossingChunk(uint64_t chunk, uint64_t label_bytes) {
  return std::min(chunk, std::max<uint64_t>(kMostCrossing / label_bytes, 1));
}

}  // namespace

DecodeTarget::DecodeTarget(Operation& operation, const SoftpackDecodeArgs& args,
                           const HeadParams& head, uint64_t classes, uint64_t chunk)
    : operation_(operation),
      args_(args),
      head_(head),
      classes_(classes),
      label_bytes_(classes * SoftpackDtypeBytes(args.out_type)),
      chunk_(chunk) {
  if (operation.OnDevice(args.out)) return;
  chunk_ = CrossingChunk(chunk, label_bytes_);
  out_ = operation.Take<char>(chunk_ * label_bytes_);
}

RowTarget DecodeTarget::Begin(uint64_t first, uint64_t count) {
  RowTarget target = {};
  target.head = head_;
  target.classes = classes_;
  target.count = count;
  target.out = out_ == nullptr ? static_cast<char*>(args_.out) + first * label_bytes_ : out_;
  target.out_type = args_.out_type;
  return target;
}

void DecodeTarget::End(uint64_t first, uint64_t count) {
  if (out_ == nullptr) return;
  char* const to = static_cast<char*>(args_.out) + first * label_bytes_;
  operation_.CopyOut(to, out_, count * label_bytes_);
}

KlTarget::KlTarget(Operation& operation, const SoftpackDecodeKlArgs& args, uint32_t type,
                   const HeadParams& head, uint64_t classes, uint64_t chunk)
    : operation_(operation),
      args_(args),
      type_(type),
      head_(head),
      classes_(classes),
      row_bytes_(classes * SoftpackDtypeBytes(type)),
      chunk_(chunk) {
  const bool logits_here = operation.OnDevice(args.logits);
  const bool gradient_here = args.gradient == nullptr || operation.OnDevice(args.gradient);
  const bool losses_here = args.losses == nullptr || operation.OnDevice(args.losses);
  if (!logits_here || !gradient_here) chunk_ = CrossingChunk(chunk, row_bytes_);
  if (!logits_here) logits_ = operation.Take<char>(chunk_ * row_bytes_);
  if (!gradient_here) gradient_ = operation.Take<char>(chunk_ * row_bytes_);
  if (!losses_here) losses_ = operation.Take<float>(chunk_);
}

RowTarget KlTarget::Begin(uint64_t first, uint64_t count) {
  const uint64_t start = first * row_bytes_;
  const char* const all_logits = reinterpret_cast<const char*>(args_.logits) + start;
  RowTarget target = {};
  target.head = head_;
  target.classes = classes_;
  target.count = count;
  target.logits = logits_ == nullptr ? all_logits : logits_;
  target.logits_type = type_;
  if (args_.losses != nullptr) target.losses = losses_ == nullptr ? args_.losses + first : losses_;
  if (args_.gradient != nullptr) {
    target.gradient =
        gradient_ == nullptr ? reinterpret_cast<char*>(args_.gradient) + start : gradient_;
  }
  target.inverse_tau = 1.0f / args_.tau;
  target.gradient_scale = args_.scale / args_.tau;
  target.entropy = args_.loss == kSoftpackLossKl;
  if (logits_ != nullptr) operation_.CopyIn(logits_, all_logits, count * row_bytes_);
  return target;
}

void KlTarget::End(uint64_t first, uint64_t count) {
  if (losses_ != nullptr) {
    operation_.CopyOut(args_.losses + first, losses_, count * sizeof(float));
  }
  if (gradient_ != nullptr) {
    char* const to = reinterpret_cast<char*>(args_.gradient) + first * row_bytes_;
    operation_.CopyOut(to, gradient_, count * row_bytes_);
  }
}

}  // namespace softpack
