import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';

/** Chromium without a window, by its DevTools protocol over two pipes: no package of its own is needed. */

const NAMES = ['chromium', 'chromium-browser', 'google-chrome'] as const;

/** The first of Debian's and Google's names that is installed. */
export function findChromium(): string | undefined {
  return NAMES.find((name) => spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0);
}

interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: Readonly<Record<string, unknown>>;
  readonly result?: unknown;
  readonly error?: { readonly message: string };
}

export interface Screen {
  readonly width: number;
  readonly scheme: 'light' | 'dark';
}

/** A tab. It notes what a page must not do: log errors, throw, and ask for anything but itself. */
export class Tab implements AsyncDisposable {
  readonly complaints: string[] = [];
  readonly requests: string[] = [];
  readonly #process: ChildProcess;
  readonly #input: Writable;
  readonly #answers = new Map<number, (message: Message) => void>();
  #session: string | undefined;
  #last = 0;

  private constructor(process: ChildProcess) {
    this.#process = process;
    const [, , , input, output] = process.stdio;
    this.#input = input as Writable;
    let text = '';
    (output as Readable).setEncoding('utf8').on('data', (piece: string) => {
      const messages = (text + piece).split('\0');
      text = messages.pop() ?? '';
      for (const message of messages) this.#hear(JSON.parse(message) as Message);
    });
  }

  /** @param profile a folder of the browser's own. */
  static async open(chromium: string, profile: string): Promise<Tab> {
    const args = ['--headless=new', '--no-sandbox', '--disable-gpu', '--hide-scrollbars'];
    const process = spawn(
      chromium,
      [...args, '--remote-debugging-pipe', `--user-data-dir=${profile}`, 'about:blank'],
      { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] },
    );
    const tab = new Tab(process);
    const { targetInfos } = (await tab.#send('Target.getTargets')) as {
      readonly targetInfos: readonly { readonly type: string; readonly targetId: string }[];
    };
    const page = targetInfos.find(({ type }) => type === 'page');
    const attached = await tab.#send('Target.attachToTarget', {
      targetId: page?.targetId,
      flatten: true,
    });
    tab.#session = (attached as { readonly sessionId: string }).sessionId;
    for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await tab.#send(`${domain}.enable`);
    return tab;
  }

  /** Opens a page and waits until its charts, if it has some, are drawn. */
  async show(url: string, { width, scheme }: Screen): Promise<void> {
    this.complaints.length = 0;
    this.requests.length = 0;
    const screen = { width, height: 900, deviceScaleFactor: 1, mobile: false };
    await this.#send('Emulation.setDeviceMetricsOverride', screen);
    const features = [{ name: 'prefers-color-scheme', value: scheme }];
    await this.#send('Emulation.setEmulatedMedia', { features });
    await this.#send('Page.navigate', { url });
    await this.until(
      `document.readyState === 'complete' && location.href === ${JSON.stringify(url)} &&
       [...document.querySelectorAll('.chart')].every((chart) => chart.querySelector('svg .mark-symbol, svg .mark-rect, svg .mark-area'))`,
    );
  }

  /** The value of an expression in the page. */
  async value<T>(expression: string): Promise<T> {
    const options = { expression, returnByValue: true, awaitPromise: true };
    const { result, exceptionDetails } = (await this.#send('Runtime.evaluate', options)) as {
      readonly result: { readonly value: T };
      readonly exceptionDetails?: { readonly text: string };
    };
    if (exceptionDetails !== undefined) throw new Error(`${expression}: ${exceptionDetails.text}`);
    return result.value;
  }

  /** Waits for a condition, at most 20 s. */
  async until(condition: string): Promise<void> {
    const end = performance.now() + 20_000;
    while (!(await this.value<boolean>(`Boolean(${condition})`))) {
      if (performance.now() > end) throw new Error(`never true: ${condition}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Moves the mouse over points; a button is held between the first and the last if `drag`. */
  async mouse(points: readonly (readonly [number, number])[], drag = false): Promise<void> {
    const held = drag ? { button: 'left', buttons: 1, clickCount: 1 } : {};
    const at = (type: string, [x, y]: readonly [number, number]) =>
      this.#send('Input.dispatchMouseEvent', { type, x, y, ...held });
    if (drag) await at('mousePressed', points[0]);
    for (const point of points) await at('mouseMoved', point);
    if (drag) await at('mouseReleased', points[points.length - 1]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.kill();
    await ended;
  }

  #send(method: string, params: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    const id = ++this.#last;
    const session = this.#session === undefined ? {} : { sessionId: this.#session };
    this.#input.write(`${JSON.stringify({ id, method, params, ...session })}\0`);
    return new Promise((resolve, reject) => {
      this.#answers.set(id, ({ result, error }) => {
        if (error === undefined) resolve(result);
        else reject(new Error(`${method}: ${error.message}`));
      });
    });
  }

  #hear(message: Message): void {
    const { id, method, params = {} } = message;
    if (id !== undefined) this.#answers.get(id)?.(message);
    const words = JSON.stringify(params);
    if (method === 'Runtime.exceptionThrown' || method === 'Log.entryAdded') {
      this.complaints.push(words);
    }
    if (method === 'Runtime.consoleAPICalled' && /"type":"(error|warning|assert)"/.test(words)) {
      this.complaints.push(words);
    }
    if (method === 'Network.requestWillBeSent') {
      const { url } = params.request as { readonly url: string };
      if (!url.startsWith('data:')) this.requests.push(url);
    }
  }
}
