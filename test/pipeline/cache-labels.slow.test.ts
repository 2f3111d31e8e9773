import { nativeTensorflow } from '../nn/native.js';

// The quick suite skips cacheLabels with a SavedModel on machines without native TensorFlow: here it is installed first.
await nativeTensorflow({ install: true });
await import('./cache-labels.test.js');
