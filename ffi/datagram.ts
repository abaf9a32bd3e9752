/**
 * One datagram to a Unix socket, which neither runtime can send by itself: how a service tells systemd of its state.
 *
 * Source: sd_notify(3), unix(7).
 *
 * @module
 */

import type { Native } from "./socket.ts";

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const MSG_NOSIGNAL = 0x4000;
/** The room for a path in `struct sockaddr_un`. */
const LONGEST_PATH = 107;

/**
 * Sends a text to a Unix datagram socket.
 *
 * @param path The socket's path; `@` in front names an abstract one.
 * @returns Whether it was taken.
 */
export function sendDatagram({ libc }: Pick<Native, "libc">, path: string, text: string): boolean {
  const name = new TextEncoder().encode(path);
  if (name.length === 0 || name.length > LONGEST_PATH) return false;
  if (path.startsWith("@")) name[0] = 0;
  const address = new Uint8Array(2 + name.length + (name[0] === 0 ? 0 : 1));
  new Uint16Array(address.buffer, 0, 1)[0] = AF_UNIX;
  address.set(name, 2);
  const fd = libc.socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0);
  if (fd < 0) return false;
  const bytes = new TextEncoder().encode(text);
  const sent = libc.sendto(fd, bytes, bytes.length, MSG_NOSIGNAL, address, address.length);
  libc.close(fd);
  return sent === bytes.length;
}
