/** Ids of the stub's vocabulary. */
export const V = 64;

/** A package whose model's ids are the codes of letters, and whose logits depend on all letters before. */
export function stub(counts = { evaluated: 0, disposed: 0 }) {
  const sequence = () => {
    let history = 0;
    return {
      async clearHistory() {
        history = 0;
      },
      async controlledEvaluate(input) {
        return input.map(([token]) => {
          counts.evaluated += 1;
          history = (history * 7 + token) % 1009;
          return { next: { probabilities: probabilitiesOf(history) } };
        });
      },
    };
  };
  const model = {
    trainContextSize: 100,
    tokens: { bos: null, shouldPrependBosToken: false },
    tokenize: (text) => Array.from(text, (letter) => letter.charCodeAt(0) % V),
    isEogToken: (token) => token < 3,
    createContext: async () => ({ getSequence: sequence, dispose: async () => {} }),
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
