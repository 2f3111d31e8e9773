// A ConvNet's logits in float64, by loops: the reference for errors.
export function float64Logits({ inputSize, widths, blocks, classes }, parameters, images) {
  const count = images.length / (inputSize * inputSize * 3);
  const logits = new Float64Array(count * classes);
  const values = (name) => parameters.get(name).values;
  for (let i = 0; i < count; i++) {
    const image = images.subarray(i * inputSize ** 2 * 3, (i + 1) * inputSize ** 2 * 3);
    let x = { size: inputSize, channels: 3, data: Float64Array.from(image) };
    for (const [stage, width] of widths.entries()) {
      x = relu(convNorm(x, `stage${stage}`, width, 4, 2));
      for (let block = 0; block < blocks[stage]; block++) {
        const name = `stage${stage}.block${block}`;
        const inner = convNorm(
          relu(convNorm(x, `${name}.a`, width, 3, 1)),
          `${name}.b`,
          width,
          3,
          1,
        );
        x = relu({ ...x, data: inner.data.map((value, at) => value + x.data[at]) });
      }
    }
    const [kernel, bias] = [values('head.kernel'), values('head.bias')];
    const pixels = x.size ** 2;
    for (let c = 0; c < x.channels; c++) {
      let mean = 0;
      for (let p = 0; p < pixels; p++) mean += x.data[p * x.channels + c] / pixels;
      for (let j = 0; j < classes; j++) logits[i * classes + j] += mean * kernel[c * classes + j];
    }
    for (let j = 0; j < classes; j++) logits[i * classes + j] += bias[j];
  }
  return logits;

  function convNorm({ size, channels, data }, name, to, side, stride) {
    const kernel = values(`${name}.kernel`);
    const [gamma, beta, mean, variance] = ['gamma', 'beta', 'mean', 'variance'].map((part) =>
      values(`${name}.${part}`),
    );
    const out = {
      size: size / stride,
      channels: to,
      data: new Float64Array((size / stride) ** 2 * to),
    };
    for (let y = 0; y < out.size; y++) {
      for (let x = 0; x < out.size; x++) {
        const at = (y * out.size + x) * to;
        for (let ky = 0; ky < side; ky++) {
          for (let kx = 0; kx < side; kx++) {
            const [sy, sx] = [y * stride + ky - 1, x * stride + kx - 1];
            if (sy < 0 || sx < 0 || sy >= size || sx >= size) continue;
            for (let c = 0; c < channels; c++) {
              const value = data[(sy * size + sx) * channels + c];
              const row = ((ky * side + kx) * channels + c) * to;
              for (let o = 0; o < to; o++) out.data[at + o] += value * kernel[row + o];
            }
          }
        }
        for (let o = 0; o < to; o++) {
          const scale = gamma[o] / Math.sqrt(variance[o] + 1e-5);
          out.data[at + o] = (out.data[at + o] - mean[o]) * scale + beta[o];
        }
      }
    }
    return out;
  }
}

function relu(x) {
  return { ...x, data: x.data.map((value) => Math.max(0, value)) };
}
