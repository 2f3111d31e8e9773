/** Ids of the stub's vocabulary. */
export const V = 64;

/** Numbers of a hidden state; {@link HEAD} makes logits of it. */
export const WIDTH = 2;
export const HEAD = Float32Array.from({ length: V * WIDTH }, (_, i) => {
  const angle = 1.7 * Math.floor(i / WIDTH);
  return 3 * (i % WIDTH === 0 ? Math.cos(angle) : Math.sin(angle));
});

/** A package whose model's ids are the codes of letters, and whose logits depend on all letters before. */
export function stub(counts = { evaluated: 0, disposed: 0 }) {
  let history = 0;
  const read = (token) => {
    counts.evaluated += 1;
    history = (history * 7 + token) % 1009;
  };
  const sequence = () => {
    return {
      async clearHistory() {
        history = 0;
      },
      async controlledEvaluate(input) {
        return input.map(([token]) => {
          read(token);
          return { next: { probabilities: probabilitiesOf(history) } };
        });
      },
      async evaluateWithoutGeneratingNewTokens(tokens) {
        for (const token of tokens) read(token);
      },
    };
  };
  const getEmbedding = () => Float64Array.of(Math.sin(history), Math.cos(history));
  const model = {
    trainContextSize: 100,
    tokens: { bos: null, shouldPrependBosToken: false },
    tokenize: (text) => Array.from(text, (letter) => letter.charCodeAt(0) % V),
    isEogToken: (token) => token < 3,
    createContext: async ({ _embeddings: hidden }) => ({
      ...{ getSequence: sequence, dispose: async () => {} },
      ...(hidden ? { _ctx: { getEmbedding } } : {}),
    }),
  };
  const dispose = async () => {
    counts.disposed += 1;
  };
  return { getLlama: async () => ({ loadModel: async () => model, dispose }) };
}

export function probabilitiesOf(history) {
  const weights = Array.from({ length: V }, (_, id) => Math.exp(3 * Math.sin(history + 1.7 * id)));
  const total = weights.reduce((a, b) => a + b, 0);
  return new Map(weights.map((weight, id) => [id, weight / total]));
}
