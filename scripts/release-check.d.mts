export interface ReleaseFields {
  readonly repository?: string | { readonly url?: string };
  readonly homepage?: string;
  readonly bugs?: string | { readonly url?: string };
}

export function unsetForRelease(manifest: ReleaseFields): readonly string[];
export function requireReleasable(manifest: ReleaseFields): void;
