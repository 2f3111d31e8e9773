/**
 * Runs `work(0)` to `work(count - 1)`, in order, at most `lanes` at a time. After a failure none is begun; it is thrown
 * when those that were begun have ended: nothing goes on behind the caller.
 */
export async function inLanes(
  count: number,
  lanes: number,
  work: (i: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const failures: unknown[] = [];
  const lane = async () => {
    while (next < count) {
      try {
        await work(next++);
      } catch (error) {
        next = count;
        failures.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(lanes, count) }, lane));
  if (failures.length > 0) throw failures[0];
}
