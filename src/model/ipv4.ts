/**
 * IPv4 addresses as numbers from 0 to 2^32 - 1: most clusters have no others, and they are read and compared by the thousand.
 *
 * @module
 */

import type { Cidr, Ip } from "./ip.ts";

/** A canonical IPv4 address, or that of a prefix, as a number. */
export function ipv4Number(value: Ip | Cidr): number {
  let number = 0;
  let part = 0;
  for (let i = 0; i < value.length; i++) {
    const c = value.charCodeAt(i);
    if (c === 0x2e) {
      number = number * 256 + part;
      part = 0;
    } else if (c === 0x2f) break;
    else part = part * 10 + c - 0x30;
  }
  return number * 256 + part;
}

/** Four decimal parts without leading zeros as one number; -1 if the text is anything else. */
export function quadNumber(text: string): number {
  let number = 0;
  let part = 0;
  let digits = 0;
  let dots = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 0x2e) {
      if (digits === 0) return -1;
      number = number * 256 + part;
      part = 0;
      digits = 0;
      dots++;
    } else {
      if (c < 0x30 || c > 0x39 || (digits > 0 && part === 0)) return -1;
      part = part * 10 + c - 0x30;
      digits++;
      if (part > 255) return -1;
    }
  }
  return dots === 3 && digits > 0 ? number * 256 + part : -1;
}

/** The address with a number. */
export function ipv4Of(number: number): Ip {
  return `${number >>> 24}.${number >>> 16 & 255}.${number >>> 8 & 255}.${number & 255}` as Ip;
}

/** An address with its host bits cleared. */
export function maskedTo(number: number, length: number): number {
  return number - number % 2 ** (32 - length);
}
