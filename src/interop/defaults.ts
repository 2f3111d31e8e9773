/** Height and width of the views that ImageNet's scripts render, pixels. */
export const DEFAULT_SIZE = [224, 224] as const;
/** Temperature of SRe2L and those after it. */
export const DEFAULT_TAU = 20;
