import type { ImageFit, PixelFormat } from '../images/decode.js';
import type { BackendName } from '../nn/backend/name.js';
import type { TeacherDescription } from '../nn/teachers/description.js';

export const SYNTHESIS_METHODS = ['rded', 'sre2l', 'cda', 'lpld'] as const;

/**
 * `rded` (Sun et al. 2024): the crops of real images that the teacher is surest of. `sre2l` (Yin et al. 2023): images optimised from
 * noise for the teacher's classes and the statistics in its batch norms. `cda` (Yin and Shen 2024): the same with views that
 * begin as the whole image. `lpld` (Xiao and He 2024): images of a class optimised together, for the statistics of the class.
 */
export type SynthesisMethod = (typeof SYNTHESIS_METHODS)[number];

/** Images distilled with a teacher, from a data set or from noise. */
export interface SynthesiseOptions {
  readonly method: SynthesisMethod;
  /**
   * As for `loadTeacher`. RDED takes every kind; the others need gradients: softpack's own networks, torchvision ResNets and
   * TensorFlow.js layers and graph models.
   */
  readonly teacher: string;
  readonly backend?: 'auto' | BackendName;
  readonly description?: TeacherDescription;
  /** As for `openImages`, with classes; only RDED needs them, the others take the names of their classes. */
  readonly images?: string;
  readonly split?: string;
  readonly fit?: ImageFit;
  /**
   * File of `featureStatistics` to hold images to: needed by `lpld`, and by teachers without batch norms (graph models, whose
   * converter folds them away); for other teachers instead of their own.
   */
  readonly statistics?: string;
  /** Images per class. */
  readonly ipc: number;
  /** First class of the teacher and the one after the last. Default: all. */
  readonly classes?: readonly [number, number];
  /** Folder to write, one folder per class within; an interrupted run is resumed. */
  readonly out: string;
  /** Default `png`. */
  readonly format?: PixelFormat;
  readonly seed?: number;
  /** RDED, as the next three: images of each class that are tried, drawn at random. Default 300. */
  readonly candidates?: number;
  /** Times that each image is tried, with other crops each time, for classes of few images. Default 1. */
  readonly draws?: number;
  /** Crops of an image in each draw, of which the best is kept. Default 5. */
  readonly crops?: number;
  /** An image is a grid of factor x factor crops. Default 2, or 1 for teachers of images up to 64 pixels. */
  readonly factor?: number;
  /** RDED: crops per forward pass of the teacher, default 128. Others: images of different classes optimised together, default 100. */
  readonly batch?: number;
  /** Others, as all further ones: steps from noise to an image. Default 4000, or 1000 for images up to 64 pixels. */
  readonly iterations?: number;
  /** Default 0.25. */
  readonly lr?: number;
  /** Weight of the distance from the batch norms' statistics. Default 0.01. */
  readonly bnWeight?: number;
  /** Weight of the first batch norm among all. Default 10. */
  readonly firstBn?: number;
  /** Smallest share of an image that a view shows. Default 0.08. */
  readonly minCrop?: number;
  /** Share of the iterations over which the smallest view falls from the whole image to `minCrop`. Default 1 of CDA, else 0. */
  readonly curriculum?: number;
  /** Largest cyclic shift of a view, pixels. Default a seventh of the side. */
  readonly jitter?: number;
  /** Makes every `count`-th job only, from `index` on. All shards may write to one folder, at the same time. */
  readonly shard?: { readonly index: number; readonly count: number };
  readonly onProgress?: (progress: SynthesisProgress) => void;
  readonly signal?: AbortSignal;
}

/** What images are distilled from, and how. */
export type SynthesisRequest = Omit<SynthesiseOptions, 'out' | 'shard' | 'onProgress'>;

export interface SynthesisProgress {
  /** Jobs of this shard that are done, those of earlier runs included. */
  readonly done: number;
  readonly total: number;
  /** The teacher's mean confidence in the classes of the latest job, on whole images. */
  readonly confidence?: number;
  /** Of the optimising methods: the job under way, its iteration and losses. */
  readonly step?: SynthesisStep;
}

export interface SynthesisStep {
  readonly job: number;
  readonly iteration: number;
  readonly iterations: number;
  /** Of one view of the images, nats. */
  readonly crossEntropy: number;
  /** Distance of the batch norms' inputs from their statistics, before its weight. */
  readonly bn: number;
  readonly bnWeight: number;
}

export interface SynthesisResult {
  readonly images: number;
  readonly classes: number;
  /** Size of the image files. */
  readonly bytes: number;
  /** Share of the images that the teacher, seeing them whole, gives their class. */
  readonly accuracy: number;
  /** The teacher's mean probability of the class, at temperature 1. */
  readonly confidence: number;
  /** Mean cross-entropy of the class, nats. */
  readonly crossEntropy: number;
  /** Jobs of all shards, and those that are done. */
  readonly jobs: number;
  readonly jobsDone: number;
}
