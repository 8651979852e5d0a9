import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex } from '@noble/hashes/utils.js'
import * as z from 'zod/mini'
import { parseJson } from './json-text.ts'

/** One element of a secret that holds a list. */
export interface SecretEntry {
  readonly value: unknown
}

/** An element with its place. */
export interface Located extends SecretEntry {
  /** The secret's name and the element's index, from 0: `CLIENT_KEYS[2]`. */
  readonly where: string
}

/**
 * Reads a secret that is either a list of words, separated by commas or white space, or a JSON
 * array. Faults never quote the value, since it is secret.
 *
 * @param word makes an entry from one word of the plain list
 */
export function readList(
  name: string,
  value: unknown,
  word: (text: string) => SecretEntry,
): { entries: Located[]; faults: string[] } {
  const located = (entry: SecretEntry, i: number): Located => ({ ...entry, where: `${name}[${i}]` })
  const array = (values: readonly unknown[]) => ({
    entries: values.map((value, i) => located({ value }, i)),
    faults: [],
  })
  if (value === undefined || value === null) return array([])
  if (Array.isArray(value)) return array(value)
  if (typeof value !== 'string') return { entries: [], faults: [`${name}: ${LIST_FORM}`] }
  const text = value.trim()
  if (!/^[[{]/.test(text)) {
    const words = text.split(/[\s,]+/).filter((part) => part !== '')
    return { entries: words.map((part, i) => located(word(part), i)), faults: [] }
  }
  const parsed = parseJson(text)
  if (!parsed.ok)
    return { entries: [], faults: [`${name}: looks like JSON but is ${parsed.fault}`] }
  return Array.isArray(parsed.value)
    ? array(parsed.value)
    : { entries: [], faults: [`${name}: ${LIST_FORM}`] }
}

const LIST_FORM = 'must be a list separated by commas or white space, or a JSON array'

/**
 * A name that headers, logs and pages show. A name that looks like a key is a fault: the gateway
 * would publish the key with every answer.
 */
export const publicName = z.string({ error: 'must be a string' }).check(
  z.regex(/^[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}$/, {
    error: 'must be 1 to 64 letters, digits or . _ : @ - and start with a letter or digit',
  }),
  z.refine((name) => !name.startsWith('sk-or-'), {
    error: 'must not be a key, since names are not kept secret',
  }),
)

/**
 * Whether a text that a caller chose holds a key of OpenRouter, or a token that the admin API has made.
 * Somebody may mistake it for a model or for a name, and what names are used for is no secret.
 */
export function holdsKey(text: string): boolean {
  return /sk-or-|\bsy-[0-9a-f]{16}/.test(text)
}

const encoder = new TextEncoder()

/**
 * The SHA-256 of a short text in UTF-8, in lower-case hexadecimal. For the length of a token a library
 * takes a few microseconds, and the platform's own hash ten times that: its result is a promise.
 */
export function sha256Hex(text: string): string {
  return bytesToHex(sha256(encoder.encode(text)))
}

/** The SHA-256 of many bytes, in lower-case hexadecimal. */
export async function sha256HexOfBytes(bytes: Uint8Array): Promise<string> {
  return bytesToHex(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)))
}
