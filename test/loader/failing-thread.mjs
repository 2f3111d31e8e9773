/** A task after which its thread, then idle, dies of an error. */
export function dieLater(message) {
  setTimeout(() => {
    throw new Error(message);
  }, 1);
  return message;
}
