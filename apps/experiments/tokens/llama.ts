import * as tf from '@tensorflow/tfjs';
import { readGguf } from '#src/interop/tokens/gguf.js';
import { openLocalFile } from '#src/store/local.js';
import type { OutputHead } from '#src/tokens/hidden/output-head.js';

/** Keys and values of what was read so far, [texts, groups, tokens, size] per layer. */
type Cache = { readonly keys: tf.Tensor4D; readonly values: tf.Tensor4D }[];

interface Layer {
  readonly norms: readonly [tf.Tensor, tf.Tensor];
  readonly query: tf.Tensor2D;
  readonly key: tf.Tensor2D;
  readonly value: tf.Tensor2D;
  readonly output: tf.Tensor2D;
  readonly gate: tf.Tensor2D;
  readonly up: tf.Tensor2D;
  readonly down: tf.Tensor2D;
}

interface Shape {
  readonly width: number;
  readonly heads: number;
  /** Heads that keys and values have. */
  readonly groups: number;
  readonly base: number;
  readonly epsilon: number;
}

/** Added to logits of what attention must not see. */
const UNSEEN = -1e9;

/**
 * A model of Llama's architecture whose output matrix is its table of embeddings, in float32. It gives what llama.cpp
 * keeps to itself: the hidden state behind the last norm of every token.
 */
export class Llama implements Disposable {
  readonly head: OutputHead;
  /** [vocabulary, width]. */
  readonly embeddings: tf.Tensor2D;
  readonly #shape: Shape;
  readonly #layers: readonly Layer[];
  readonly #norm: tf.Tensor;

  private constructor(shape: Shape, head: OutputHead, layers: readonly Layer[], last: tf.Tensor) {
    this.#shape = shape;
    this.head = head;
    this.embeddings = tf.tensor2d(head.weights, [head.vocabulary, head.width]);
    this.#layers = layers;
    this.#norm = last;
  }

  static async open(path: string): Promise<Llama> {
    const file = await openLocalFile(path);
    try {
      const gguf = await readGguf(file);
      const width = gguf.number('llama.embedding_length');
      const shape: Shape = {
        width,
        heads: gguf.number('llama.attention.head_count'),
        groups: gguf.number('llama.attention.head_count_kv'),
        base: gguf.number('llama.rope.freq_base'),
        epsilon: gguf.number('llama.attention.layer_norm_rms_epsilon'),
      };
      const tensor = async (name: string) => {
        const { values, shape } = await gguf.tensor(`${name}.weight`);
        return tf.tensor(values, [...shape]);
      };
      const layers: Layer[] = [];
      for (let i = 0; i < gguf.number('llama.block_count'); i++) {
        const matrix = async (name: string) => (await tensor(`blk.${i}.${name}`)) as tf.Tensor2D;
        layers.push({
          norms: [await matrix('attn_norm'), await matrix('ffn_norm')],
          query: await matrix('attn_q'),
          key: await matrix('attn_k'),
          value: await matrix('attn_v'),
          output: await matrix('attn_output'),
          gate: await matrix('ffn_gate'),
          up: await matrix('ffn_up'),
          down: await matrix('ffn_down'),
        });
      }
      const { values: weights, shape: table } = await gguf.tensor('token_embd.weight');
      const head = { weights, vocabulary: table[0], width };
      return new Llama(shape, head, layers, await tensor('output_norm'));
    } finally {
      await file.close();
    }
  }

  /**
   * Reads tokens of several texts, [texts, count], behind those of `cache`, as many for each. Gives the state behind the last of
   * them, [texts, width], and all keys and values; the caller disposes of both.
   */
  read(tokens: Int32Array, texts: number, cache?: Cache): { states: tf.Tensor2D; cache: Cache } {
    const { width, epsilon } = this.#shape;
    const count = tokens.length / texts;
    const past = cache?.[0].keys.shape[2] ?? 0;
    const kept: Cache = [];
    const states = tf.tidy(() => {
      const turns = this.#turns(past, count);
      const mask = maskOf(past, count);
      let state = tf.gather(this.embeddings, tf.tensor1d(tokens, 'int32')) as tf.Tensor2D;
      for (const [i, layer] of this.#layers.entries()) {
        const read = norm(state, layer.norms[0], epsilon);
        const mixed = this.#attend(read, layer, { texts, turns, mask, past: cache?.[i] });
        kept.push({ keys: tf.keep(mixed.keys), values: tf.keep(mixed.values) });
        state = state.add(tf.matMul(mixed.out, layer.output, false, true));
        const inner = norm(state, layer.norms[1], epsilon);
        const gate = tf.matMul(inner, layer.gate, false, true);
        const up = tf.matMul(inner, layer.up, false, true).mul<tf.Tensor2D>(gate);
        const swish = up.mul<tf.Tensor2D>(gate.sigmoid());
        state = state.add(tf.matMul(swish, layer.down, false, true));
      }
      const last = state.reshape([texts, count, width]).slice([0, count - 1, 0], [texts, 1, width]);
      return norm(last.reshape([texts, width]) as tf.Tensor2D, this.#norm, epsilon);
    });
    return { states, cache: kept };
  }

  #attend(
    state: tf.Tensor2D,
    layer: Layer,
    {
      texts,
      turns,
      mask,
      past,
    }: {
      readonly texts: number;
      readonly turns: Turns;
      readonly mask: tf.Tensor2D;
      readonly past: Cache[number] | undefined;
    },
  ): { out: tf.Tensor2D; keys: tf.Tensor4D; values: tf.Tensor4D } {
    const { heads, groups, width } = this.#shape;
    const size = width / heads;
    const count = state.shape[0] / texts;
    const split = (matrix: tf.Tensor2D, parts: number) =>
      tf
        .matMul(state, matrix, false, true)
        .reshape([texts, count, parts, size])
        .transpose([0, 2, 1, 3]) as tf.Tensor4D;
    const join = (before: tf.Tensor4D | undefined, now: tf.Tensor4D) =>
      before === undefined ? now : tf.concat([before, now], 2);
    const keys = join(past?.keys, turned(split(layer.key, groups), turns));
    const values = join(past?.values, split(layer.value, groups));
    // Heads of one group follow each other: their queries are read as one.
    const shared = (heads / groups) * count;
    const query = turned(split(layer.query, heads), turns).reshape([texts, groups, shared, size]);
    const logits = tf.matMul(query, keys, false, true).div(Math.sqrt(size));
    const shares = tf.softmax(logits.add(mask.tile([heads / groups, 1])));
    const mixed = tf.matMul(shares, values).reshape([texts, heads, count, size]);
    const out = mixed.transpose([0, 2, 1, 3]).reshape([texts * count, width]) as tf.Tensor2D;
    return { out, keys, values };
  }

  /** Cosines and sines of positions, [count, size / 2]. */
  #turns(past: number, count: number): Turns {
    const { width, heads, base } = this.#shape;
    const pairs = width / heads / 2;
    const angles = tf.tidy(() => {
      const steps = Float32Array.from({ length: pairs }, (_, i) => base ** (-i / pairs));
      const places = Float32Array.from({ length: count }, (_, i) => past + i);
      return tf.outerProduct(tf.tensor1d(places), tf.tensor1d(steps));
    });
    return { cos: angles.cos(), sin: angles.sin() };
  }

  [Symbol.dispose](): void {
    const layers = this.#layers.flatMap(({ norms, ...matrices }) => [
      ...norms,
      ...Object.values(matrices),
    ]);
    tf.dispose([this.embeddings, this.#norm, ...layers]);
  }
}

interface Turns {
  readonly cos: tf.Tensor2D;
  readonly sin: tf.Tensor2D;
}

/** Rotates neighbouring pairs of a head's dimensions by their position. */
function turned(x: tf.Tensor4D, { cos, sin }: Turns): tf.Tensor4D {
  const [texts, parts, count, size] = x.shape;
  const pairs = x.reshape([texts, parts, count, size / 2, 2]);
  const [a, b] = tf.unstack(pairs, 4);
  const joined = tf.stack([a.mul(cos).sub(b.mul(sin)), a.mul(sin).add(b.mul(cos))], 4);
  return joined.reshape(x.shape);
}

/** [count, past + count], 0 where a token may look. */
function maskOf(past: number, count: number): tf.Tensor2D {
  const mask = new Float32Array(count * (past + count));
  for (let i = 0; i < count; i++) {
    mask.fill(UNSEEN, i * (past + count) + past + i + 1, (i + 1) * (past + count));
  }
  return tf.tensor2d(mask, [count, past + count]);
}

function norm(state: tf.Tensor2D, scale: tf.Tensor, epsilon: number): tf.Tensor2D {
  return state.mul(state.square().mean(1, true).add(epsilon).rsqrt()).mul<tf.Tensor2D>(scale);
}
