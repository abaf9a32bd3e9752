/**
 * Tells systemd how the agent does: `Type=notify` units wait for READY, and a watchdog for a sign of life.
 *
 * Source: sd_notify(3), sd_watchdog_enabled(3).
 *
 * @module
 */

/** The environment of a service. */
type Environment = Readonly<Record<string, string | undefined>>;

/** How often the state is looked at, in milliseconds, where no watchdog asks for more. */
const LOOK = 1_000;

/**
 * Reports until the returned function is called, which says that the agent is stopping. Does nothing where systemd did not ask.
 *
 * @param send Sends a text to the socket that the environment names.
 * @param notReady Why the agent is not ready; `null` if it is.
 */
export function notifySystemd(
  env: Environment,
  send: (path: string, text: string) => boolean,
  notReady: () => string | null,
): () => void {
  const socket = env["NOTIFY_SOCKET"];
  if (socket === undefined || socket === "") return () => {};
  const watchdog = Number(env["WATCHDOG_USEC"] ?? 0) / 1000;
  let said = "";
  const tell = () => {
    const reason = notReady();
    const state = reason === null ? "READY=1\nSTATUS=ready" : `STATUS=not ready: ${reason.replaceAll("\n", " ")}`;
    if (state !== said && send(socket, state)) said = state;
    if (watchdog > 0) send(socket, "WATCHDOG=1");
  };
  tell();
  const timer = setInterval(tell, watchdog > 0 ? Math.min(LOOK, watchdog / 3) : LOOK);
  return () => {
    clearInterval(timer);
    send(socket, "STOPPING=1");
  };
}
