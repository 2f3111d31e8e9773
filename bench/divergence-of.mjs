/** KL of the distribution of logits from that of others, by float64 sums. */
export function divergenceOf(p, q) {
  const [pSum, qSum] = [p, q].map((logits) => {
    const top = logits.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    return top + Math.log(logits.reduce((sum, own) => sum + Math.exp(own - top), 0));
  });
  let sum = 0;
  for (let j = 0; j < p.length; j++) sum += Math.exp(p[j] - pSum) * (p[j] - pSum - q[j] + qSum);
  return sum;
}
