// Answers its parent with the sum of a product of ones on native TensorFlow.
import { selectBackend } from '../../dist/nn/backend/select.js';

const { tf, name } = await selectBackend({ backend: 'tensorflow' });
const product = tf.matMul(tf.ones([4, 4]), tf.ones([4, 4])).sum();
process.send({ name, sum: (await product.data())[0] }, () => process.disconnect());
