import { nativeTensorflow } from './native.js';

// The quick suite skips SavedModels on machines without native TensorFlow: here it is installed first.
await nativeTensorflow({ install: true });
await import('./teachers.test.js');
