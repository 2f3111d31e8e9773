/** Whether tests leave out nothing of what takes an hour: set before a release. */
export const TEST_ALL = process.env.SOFTPACK_TEST_ALL === '1';
