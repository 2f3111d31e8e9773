import type { Output } from './io.js';

/** Progress of one long step of a command, with the time left. */
export interface ProgressStep {
  /** `done` of the step's total; `note` is a short figure shown after it, e.g. a loss. */
  update(done: number, note?: string): void;
  /** Ends the step with its duration and an optional result. */
  finish(note?: string): void;
}

export interface Progress {
  step(name: string, total: number): ProgressStep;
}

/** Milliseconds between lines if the output is not a terminal. */
const LINE_INTERVAL = 10_000;
/** Milliseconds between redraws of a bar on a terminal. */
const BAR_INTERVAL = 100;
const BAR_WIDTH = 24;
const LEAST_BAR = 8;
const NAME_WIDTH = 28;

/** Bars with ETA on a terminal; elsewhere one line every ten seconds and one when a step ends. */
export function createProgress(stream: Output): Progress {
  if (stream.quiet) return { step: () => ({ update() {}, finish() {} }) };
  return { step: (name, total) => new StepLine(stream, name, total) };
}

/**
 * Shows work that reports its phase with every step: one bar per phase, from its first report to its last or to
 * the start of the next phase.
 */
export function phaseProgress<Phase extends string>(
  names: Readonly<Record<Phase, string>>,
  stream: Output,
): (phase: Phase, done: number, total: number, note?: string) => void {
  const bars = createProgress(stream);
  let open: { readonly phase: Phase; readonly step: ProgressStep } | undefined;
  return (phase, done, total, note) => {
    if (open?.phase !== phase) {
      open?.step.finish();
      open = { phase, step: bars.step(names[phase], total) };
    }
    open.step.update(done, note);
    if (done < total) return;
    open.step.finish(note);
    open = undefined;
  };
}

/** One step of a command, for work that tells its total with its first report. */
export function reportedStep(
  name: string,
  stream: Output,
): { readonly report: (done: number, total: number) => void; readonly finish: () => void } {
  let step: ProgressStep | undefined;
  return {
    report(done, total) {
      step ??= createProgress(stream).step(name, total);
      step.update(done);
    },
    finish: () => step?.finish(),
  };
}

class StepLine implements ProgressStep {
  readonly #stream: Output;
  readonly #name: string;
  readonly #total: number;
  readonly #start = performance.now();
  /** Start of the timed work: what an earlier run did took no time in this one. */
  #from: { readonly done: number; readonly time: number } | undefined;
  #shown: number;

  constructor(stream: Output, name: string, total: number) {
    this.#stream = stream;
    this.#name = name;
    this.#total = total;
    this.#shown = stream.isTTY ? Number.NEGATIVE_INFINITY : this.#start;
    this.#show(0, '');
  }

  update(done: number, note = ''): void {
    this.#from ??= { done, time: performance.now() };
    this.#show(done, note);
  }

  #show(done: number, note: string): void {
    const now = performance.now();
    const interval = this.#stream.isTTY ? BAR_INTERVAL : LINE_INTERVAL;
    if (now - this.#shown < interval) return;
    this.#shown = now;
    const share = Math.min(done / Math.max(this.#total, 1), 1);
    const rest = this.#secondsLeft(done, now);
    const left = rest === undefined ? '' : `${seconds(rest)} left`;
    const percent = `${Math.round(100 * share)}%`.padStart(4);
    if (this.#stream.isTTY) {
      const line = barLine(this.#name, share, left, note, this.#stream.columns ?? 80);
      this.#write(`\r\x1b[K${line}`);
    } else {
      const parts = [percent.trim(), left, note].filter((part) => part !== '');
      this.#write(`${this.#name}: ${parts.join(', ')}\n`);
    }
  }

  #secondsLeft(done: number, now: number): number | undefined {
    if (this.#from === undefined || done <= this.#from.done) return undefined;
    const rate = (done - this.#from.done) / (now - this.#from.time);
    return Math.max(0, this.#total - done) / rate / 1000;
  }

  finish(note = ''): void {
    const took = seconds((performance.now() - this.#start) / 1000);
    const clear = this.#stream.isTTY ? '\r\x1b[K' : '';
    const wide = (this.#stream.columns ?? 80) >= NAME_WIDTH + 20;
    const name = wide ? this.#name.padEnd(NAME_WIDTH) : this.#name;
    this.#write(`${clear}${name} ${took}${note && `  ${note}`}\n`);
  }

  #write(text: string): void {
    this.#stream.write(text);
  }
}

/** A line that fits the terminal: one that wraps is not redrawn in place. What is least needed goes first. */
export function barLine(
  name: string,
  share: number,
  left: string,
  note: string,
  columns: number,
): string {
  // The last column stays free: some terminals wrap as soon as it is written.
  const room = columns - 1;
  const percent = `${Math.round(100 * share)}%`.padStart(4);
  const tails = [
    `${percent}  ${left}  ${note}`.trimEnd(),
    `${percent}  ${left}`.trimEnd(),
    percent,
  ];
  for (const tail of tails) {
    for (const title of [name.padEnd(NAME_WIDTH), name]) {
      const width = Math.min(BAR_WIDTH, room - title.length - tail.length - 1);
      if (width < LEAST_BAR) continue;
      const filled = Math.round(share * width);
      return `${title} ${'█'.repeat(filled)}${'░'.repeat(width - filled)}${tail}`;
    }
  }
  const tail = tails.find((one) => name.length + one.length <= room) ?? percent;
  return `${name.slice(0, Math.max(0, room - tail.length))}${tail}`;
}

/** `0.4 s`, `12 s`, `3 min 05 s` or `26 h 04 min`. */
export function seconds(value: number): string {
  if (value < 9.95) return `${value.toFixed(1)} s`;
  const whole = Math.round(value);
  if (whole < 60) return `${whole} s`;
  const two = (count: number) => String(count).padStart(2, '0');
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${two(whole % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
}
