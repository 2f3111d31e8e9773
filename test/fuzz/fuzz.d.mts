export interface FuzzFailure {
  readonly target: string;
  readonly reason: string;
  readonly bytes: Uint8Array;
}

export interface FuzzResult {
  readonly seed: number;
  readonly executions: number;
  readonly seconds: number;
  readonly targets: readonly string[];
  readonly failures: readonly FuzzFailure[];
}

/** See fuzz.mjs. */
export function fuzz(options: {
  readonly seconds: number;
  readonly seed: number;
  readonly only?: string;
  readonly keep?: string;
  readonly onProgress?: (soFar: FuzzResult) => void;
}): Promise<FuzzResult>;
