import type { Pilot } from '../codecs/descriptor.js';
import type { PackResult } from '../pipeline/pack.js';

/** What the planner chose, in words: nothing that it leaves out is left unsaid. */

/** How many epochs are stored, if not all, and what others would leave per label. */
export function reuseLines({
  epochs,
  storedEpochs,
  weighed,
}: Pick<PackResult, 'epochs' | 'storedEpochs' | 'weighed'>): readonly string[] {
  if (epochs === storedEpochs) return [];
  const stored = `stores ${storedEpochs} of ${epochs} epochs, each used ${times(epochs / storedEpochs)}`;
  if (weighed === undefined) return [stored];
  const others = weighed.map(({ epochs: count, bitsPerLabel }) => {
    const bits = bitsPerLabel === 0 ? 'out of reach' : `${bitsPerLabel.toFixed(1)} bits per label`;
    return `  ${count === storedEpochs ? '*' : ' '} ${String(count).padStart(4)}: ${bits}`;
  });
  return [`${stored}; with --keep of`, ...others];
}

function times(count: number): string {
  return Number.isInteger(count) ? `${count} times` : `about ${count.toFixed(1)} times`;
}

/** What a pilot reached beside what Gaussian labels would need. */
export function pilotLines(pilot: Pilot | undefined): readonly string[] {
  if (pilot === undefined) return [];
  const { bitsPerLabel, kl, distortion, gaussianBits } = pilot;
  return [
    `held-out labels: ${bitsPerLabel.toFixed(1)} bits each, squared error ${distortion.toPrecision(3)}, ` +
      `KL ${kl.toExponential(2)} nats at their temperatures`,
    `Gaussian bound R(D) at this error: ${gaussianBits.toFixed(1)} bits`,
  ];
}
