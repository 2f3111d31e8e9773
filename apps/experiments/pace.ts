/** Milliseconds between notes on one piece of work. */
const NOTE_INTERVAL = 15_000;

/** Whether a note is due: the first one is, then one every 15 s. */
export function pace(): () => boolean {
  let noted = Number.NEGATIVE_INFINITY;
  return () => {
    if (performance.now() - noted < NOTE_INTERVAL) return false;
    noted = performance.now();
    return true;
  };
}
