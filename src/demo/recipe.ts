import type { PixelSource } from '../augment/replay.js';
import { type EmojiImages, emojiSamples } from './emoji.js';
