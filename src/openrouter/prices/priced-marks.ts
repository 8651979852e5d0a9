import { fieldNames, nameAt } from '../requests/field-names.ts'

/**
 * How often a body names what has a price of its own, anywhere in it. These are upper bounds: a text
 * may hold such a name too.
 */
export interface PricedMarks {
  /** Marks by which parts of the prompt are written to the provider's cache. */
  readonly caches: number
  readonly images: number
  readonly sounds: number
  readonly files: number
}

type Kind = keyof PricedMarks

/** Names of fields. */
const FIELDS: Readonly<Record<string, Kind>> = {
  cache_control: 'caches',
  prompt_cache_breakpoint: 'caches',
  prompt_cache_options: 'caches',
}

/** Values of a field `type`. As names they may be anybody's: a tool may take a `file`. */
const TYPES: Readonly<Record<string, Kind>> = {
  image_url: 'images',
  input_image: 'images',
  image: 'images',
  input_audio: 'sounds',
  file: 'files',
  input_file: 'files',
  document: 'files',
}

const NAMES = fieldNames(['type', ...Object.keys(FIELDS), ...Object.keys(TYPES)])

const QUOTE = 0x22
const COLON = 0x3a

/** So many bytes take some milliseconds at most. */
const STEP_BYTES = 1024 * 1024

/**
 * Counts the marks in a body. It looks at what stands between one quote and the next, so it meets
 * every name, however deep, and whichever quotes are escaped. A name that is written with escapes is
 * the same name.
 * @param pause lets other requests go on. Only a large body needs it
 */
export async function countMarks(
  bytes: Uint8Array,
  pause: () => Promise<void>,
): Promise<PricedMarks> {
  const counts = { caches: 0, images: 0, sounds: 0, files: 0 }
  /** The name between the latest two quotes, and the one between the two quotes before. */
  let latest: string | null = null
  let before: string | null = null
  let open = -1
  for (let start = 0; start < bytes.length; start += STEP_BYTES) {
    if (start > 0) await pause()
    const end = Math.min(bytes.length, start + STEP_BYTES)
    for (let at = start; at < end; at += 1) {
      if (bytes[at] !== QUOTE) continue
      const name = open === -1 ? null : nameAt(bytes, open, at + 1, NAMES)
      const isType = before === 'type' && name !== null && isColonBefore(bytes, open)
      const kind = kindOf(name, isType)
      if (kind !== null) counts[kind] += 1
      before = latest
      latest = name
      open = at
    }
  }
  return counts
}

function kindOf(name: string | null, isType: boolean): Kind | null {
  if (name === null) return null
  return FIELDS[name] ?? (isType ? (TYPES[name] ?? null) : null)
}

function isColonBefore(bytes: Uint8Array, quote: number): boolean {
  let at = quote - 1
  while (at > 0 && (bytes[at] ?? 0) <= 0x20) at -= 1
  return bytes[at] === COLON
}
