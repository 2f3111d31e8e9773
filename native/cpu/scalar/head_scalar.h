// The specification of the kernels on rows of values: sums of looked-up rows, widening, heads and
// the loss. Included once, by kernels_scalar.cc, inside its namespace.

template <class T>
void SumRows(const RowSums<T>& sums) {
  for (uint64_t i = 0; i < sums.labels; ++i) {
    const uint16_t* const indices = sums.indices + i * sums.index_stride;
    T* const sum = sums.panel + i * sums.width;
    for (uint32_t j = 0; j < sums.width; ++j) {
      T value = sums.start == nullptr ? sum[j] : sums.start[j];
      for (uint64_t s = 0; s < sums.stages; ++s) {
        value = static_cast<T>(
            value + sums.rows[s * sums.stage_stride + uint64_t{indices[s]} * sums.width + j]);
      }
      sum[j] = value;
    }
  }
}

void WidenRange(const float* values, uint64_t length, float* least, float* greatest) {
  for (uint64_t j = 0; j < length; ++j) {
    least[j] = values[j] < least[j] ? values[j] : least[j];
    greatest[j] = values[j] > greatest[j] ? values[j] : greatest[j];
  }
}

void ToFixed(const float* values, const float* middle, const float* inverse_step, uint64_t length,
             int16_t* out) {
  for (uint64_t j = 0; j < length; ++j) {
    const float scaled = (values[j] - middle[j]) * inverse_step[j];
    const uint64_t at = (j & ~uint64_t{31}) + FixedPosition(static_cast<uint32_t>(j & 31));
    out[at] = static_cast<int16_t>(std::nearbyintf(scaled));
  }
}

void ToBfloat(const float* values, uint64_t length, uint16_t* high, uint16_t* low) {
  for (uint64_t j = 0; j < length; ++j) {
    high[j] = scalar::FloatToBfloat(values[j]);
    if (low != nullptr) low[j] = scalar::LowBfloat(values[j]);
  }
}

uint64_t PlaceOf(const RowView& row, uint64_t j) {
  return j / row.width * row.block_stride + j % row.width;
}

float ValueOf(const RowView& row, uint64_t j) {
  if (row.sums == nullptr) return row.floats[PlaceOf(row, j)];
  const uint64_t block = PlaceOf(row, j & ~uint64_t{31});
  const int16_t sum = row.sums[block + FixedPosition(static_cast<uint32_t>(j & 31))];
  return std::fmaf(static_cast<float>(sum) * 65536.0f, row.step[j], row.start[j]);
}

void Widen(const RowView& row, uint64_t length, float* values) {
  for (uint64_t j = 0; j < length; ++j) values[j] = ValueOf(row, j);
}

void AddPrediction(const float* a, const float* b, float weight, uint64_t length, float* values) {
  for (uint64_t j = 0; j < length; ++j) {
    values[j] = std::fmaf(weight, a[j], std::fmaf(1.0f - weight, b[j], values[j]));
  }
}

// Partial sums of a row, in the order of kHeadSums.
class ClassSum {
 public:
  void Add(uint64_t j, float value) { sums_[j % kHeadSums] += value; }
  // For a term that is a product.
  void AddProduct(uint64_t j, float a, float b) {
    sums_[j % kHeadSums] = std::fmaf(a, b, sums_[j % kHeadSums]);
  }
  float Total() {
    for (uint32_t width = kHeadSums / 2; width > 0; width /= 2) {
      for (uint32_t i = 0; i < width; ++i) sums_[i] += sums_[i + width];
    }
    return sums_[0];
  }

 private:
  float sums_[kHeadSums] = {};
};

float Greatest(const float* values, uint64_t classes) {
  float greatest = values[0];
  for (uint64_t j = 1; j < classes; ++j) greatest = values[j] > greatest ? values[j] : greatest;
  return greatest;
}

void StoreAs(SoftpackDtype type, float value, uint64_t j, void* out) {
  if (type == kSoftpackFloat32)
    static_cast<float*>(out)[j] = value;
  else if (type == kSoftpackFloat16)
    static_cast<uint16_t*>(out)[j] = FloatToHalf(value);
  else
    static_cast<uint16_t*>(out)[j] = scalar::FloatToBfloat(value);
}

void Finish(const Head& head, const RowView& row, uint64_t classes, float* scratch,
            const RowOutput& out) {
  Widen(row, classes, scratch);
  ClassSum sum;
  float scale = 1.0f;
  if (head.kind == HeadKind::kClamp) {
    for (uint64_t j = 0; j < classes; ++j) {
      scratch[j] = scratch[j] > head.parameter ? scratch[j] : head.parameter;
      sum.Add(j, scratch[j]);
    }
    scale = 1.0f / sum.Total();
  } else if (head.kind == HeadKind::kSoftmax) {
    const float greatest = Greatest(scratch, classes);
    for (uint64_t j = 0; j < classes; ++j) {
      scratch[j] = scalar::Exp((scratch[j] - greatest) * head.parameter);
      sum.Add(j, scratch[j]);
    }
    scale = 1.0f / sum.Total();
  }
  for (uint64_t j = 0; j < classes; ++j) StoreAs(out.type, scratch[j] * scale, j, out.data);
}

// Ordinary stores need none.
void Fence() {}

// With w the label before it is divided by its sum Z, t = log2(u w), and b = (l - max l) / (tau ln
// 2):
//   KL = ln 2 (sum w t - sum w b) / Z + log(sum 2^b / u) - log Z
// and d KL / d l = (2^b / sum 2^b - w / Z) / tau.
float Kl(const Head& head, const RowView& row, const KlInput& input, uint64_t classes, float* w,
         float* powers, float* gradient) {
  ClassSum z, entropy, mixed, partition;
  Widen(row, classes, w);
  const float greatest_value = head.kind == HeadKind::kSoftmax ? Greatest(w, classes) : 0.0f;
  const float greatest_logit = Greatest(input.logits, classes);
  const float factor = input.inverse_tau * scalar::kLog2E;
  const float head_factor = head.parameter * scalar::kLog2E;
  for (uint64_t j = 0; j < classes; ++j) {
    float t = 0.0f;
    if (head.kind == HeadKind::kClamp) {
      w[j] = w[j] > head.parameter ? w[j] : head.parameter;
      if (input.entropy) t = scalar::Log2Of1024(w[j]);
    } else {
      t = (w[j] - greatest_value) * head_factor;
      w[j] = scalar::Exp2(t);
    }
    const float b = (input.logits[j] - greatest_logit) * factor;
    powers[j] = scalar::Exp2(b);
    z.Add(j, w[j]);
    partition.Add(j, powers[j]);
    mixed.AddProduct(j, w[j], b);
    if (input.entropy) entropy.AddProduct(j, w[j], t);
  }
  const scalar::KlSums sums{z.Total(), entropy.Total(), partition.Total(), mixed.Total()};
  const float student_scale = input.gradient_scale / sums.partition;
  const float label_scale = input.gradient_scale / sums.total;
  for (uint64_t j = 0; gradient != nullptr && j < classes; ++j) {
    gradient[j] = std::fmaf(powers[j], student_scale, -(w[j] * label_scale));
  }
  const float unit = scalar::KlUnit(head.kind == HeadKind::kClamp, input.entropy);
  return scalar::KlLoss(sums, input.entropy, scalar::Log(sums.total),
                        scalar::Log(sums.partition * unit));
}
