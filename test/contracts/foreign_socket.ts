/**
 * A netlink socket that is not the kernel's, to send forged messages with. libnl's drivers can not do that, on purpose.
 *
 * @module
 */

/// <reference path="../../ffi/bun.d.ts" />

const AF_NETLINK = 16;
const SOCK_RAW = 3;

interface Libc {
  socket(family: number, type: number, protocol: number): number;
  sendto(fd: number, bytes: Uint8Array, length: number, flags: number, to: Uint8Array, toLength: number): number;
  close(fd: number): number;
}

/**
 * Sends a message to the netlink socket with the given port id.
 *
 * @returns How many bytes the kernel took; negative if it took none.
 */
export async function sendForged(protocol: number, port: number, message: Uint8Array): Promise<number> {
  const libc = "Bun" in globalThis ? await bunLibc() : denoLibc();
  const to = new Uint8Array(12); // struct sockaddr_nl
  new DataView(to.buffer).setUint16(0, AF_NETLINK, true);
  new DataView(to.buffer).setUint32(4, port, true);
  const fd = libc.socket(AF_NETLINK, SOCK_RAW, protocol);
  try {
    return libc.sendto(fd, message, message.length, 0, to, to.length);
  } finally {
    libc.close(fd);
  }
}

async function bunLibc(): Promise<Libc> {
  const { dlopen } = await import("bun:ffi");
  return dlopen("libc.so.6", {
    socket: { args: ["i32", "i32", "i32"], returns: "i32" },
    sendto: { args: ["i32", "ptr", "i32", "i32", "ptr", "i32"], returns: "i32" },
    close: { args: ["i32"], returns: "i32" },
  }).symbols as unknown as Libc;
}

function denoLibc(): Libc {
  return Deno.dlopen("libc.so.6", {
    socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
    sendto: { parameters: ["i32", "buffer", "i32", "i32", "buffer", "i32"], result: "i32" },
    close: { parameters: ["i32"], result: "i32" },
  }).symbols as unknown as Libc;
}
