/**
 * Waiting that a signal cuts short.
 *
 * @module
 */

/**
 * Waits until `done` is called.
 *
 * @param arm Gets `done`, and gives back what undoes its own preparations; that is called in any case.
 * @throws The signal's reason, as soon as it is aborted.
 */
export function until(signal: AbortSignal, arm: (done: () => void) => () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const end = () => {
      signal.removeEventListener("abort", end);
      disarm();
      if (signal.aborted) reject(signal.reason);
      else resolve();
    };
    const disarm = arm(end);
    signal.addEventListener("abort", end);
  });
}

/** Waits for some milliseconds. @throws The signal's reason, as soon as it is aborted. */
export function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return until(signal, (done) => {
    const timer = setTimeout(done, milliseconds);
    return () => clearTimeout(timer);
  });
}
