import { joinPieces } from '../../openrouter/pieces.ts'
import { boundaryOf, parametersOf } from '../../openrouter/requests/multipart-model.ts'

/** What a form says as it comes. The bytes of a part come in any number of pieces. */
export type FormEvent =
  | { readonly kind: 'part'; readonly name: string; readonly filename: string | null }
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  | { readonly kind: 'part_end' }
  /** The rest of the form can't be read. Nothing comes after it. */
  | { readonly kind: 'broken' }

/** More is no header of a form. */
const MAX_HEADERS_BYTES = 16 * 1024
const MAX_PARTS = 64

const CR = 0x0d
const LF = 0x0a
const DASH = 0x2d
const encoder = new TextEncoder()
const decoder = new TextDecoder()
const BLANK_LINE = encoder.encode('\r\n\r\n')

type State = 'preamble' | 'delimiter' | 'headers' | 'content' | 'epilogue' | 'broken'

/**
 * Reads a form (`multipart/form-data`) piece by piece. The platform's `formData()` holds all of it, and
 * a file of a batch may be larger than an isolate's memory. It holds a piece, and what of the one before
 * may be the beginning of a delimiter.
 */
export class FormReader {
  readonly #delimiter: Uint8Array
  #state: State = 'preamble'
  // The first delimiter needs no line before it.
  #rest: Uint8Array = encoder.encode('\r\n')
  #parts = 0
  #events: FormEvent[] = []

  private constructor(boundary: string) {
    this.#delimiter = encoder.encode(`\r\n--${boundary}`)
  }

  /** @returns null if the header names no boundary: the body is no form */
  static of(contentType: string): FormReader | null {
    const boundary = boundaryOf(contentType)
    return boundary === null ? null : new FormReader(boundary)
  }

  push(piece: Uint8Array): readonly FormEvent[] {
    this.#rest = this.#rest.length === 0 ? piece : joinPieces([this.#rest, piece])
    while (this.#step());
    return this.#taken()
  }

  /** What is left to say once the body has ended: a form that is not complete is broken. */
  end(): readonly FormEvent[] {
    if (this.#state !== 'epilogue') this.#break()
    return this.#taken()
  }

  #taken(): readonly FormEvent[] {
    const events = this.#events
    this.#events = []
    return events
  }

  /** @returns whether there may be more to read in what has come */
  #step(): boolean {
    switch (this.#state) {
      case 'preamble':
      case 'content':
        return this.#readContent()
      case 'delimiter':
        return this.#readDelimiterEnd()
      case 'headers':
        return this.#readHeaders()
      case 'epilogue':
      case 'broken':
        this.#rest = new Uint8Array(0)
        return false
    }
  }

  #readContent(): boolean {
    const at = indexOf(this.#rest, this.#delimiter)
    // The last bytes may be the beginning of a delimiter.
    const end = at === -1 ? this.#rest.length - this.#delimiter.length + 1 : at
    if (end > 0) {
      if (this.#state === 'content') {
        this.#events.push({ kind: 'bytes', bytes: this.#rest.subarray(0, end) })
      }
      this.#rest = this.#rest.subarray(end)
    }
    if (at === -1) return false
    if (this.#state === 'content') this.#events.push({ kind: 'part_end' })
    this.#rest = this.#rest.subarray(this.#delimiter.length)
    this.#state = 'delimiter'
    return true
  }

  /** After a delimiter: two dashes end the form, a line's end begins a part. */
  #readDelimiterEnd(): boolean {
    const [first, second] = this.#rest
    if (first === undefined || second === undefined) return false
    if (first === DASH && second === DASH) {
      this.#state = 'epilogue'
      return true
    }
    if (first !== CR || second !== LF || this.#parts >= MAX_PARTS) return this.#break()
    this.#parts += 1
    this.#state = 'headers'
    return true
  }

  /** The line's end before the headers belongs to what is searched, since a part may have none. */
  #readHeaders(): boolean {
    const at = indexOf(this.#rest, BLANK_LINE)
    if (at === -1) return this.#rest.length > MAX_HEADERS_BYTES ? this.#break() : false
    const part = dispositionOf(decoder.decode(this.#rest.subarray(0, at)))
    if (part === null) return this.#break()
    this.#events.push({ kind: 'part', ...part })
    this.#rest = this.#rest.subarray(at + BLANK_LINE.length)
    this.#state = 'content'
    return true
  }

  #break(): false {
    if (this.#state !== 'broken') this.#events.push({ kind: 'broken' })
    this.#state = 'broken'
    return false
  }
}

function dispositionOf(headers: string): { name: string; filename: string | null } | null {
  const line = headers.split('\r\n').find((each) => /^content-disposition\s*:/i.test(each))
  const type = line === undefined ? null : /^[^:]*:\s*form-data\s*(?=;)/i.exec(line)
  const parameters = type && parametersOf(type.input.slice(type[0].length))
  const name = parameters?.get('name')
  if (parameters === null || name === undefined) return null
  return { name, filename: parameters.get('filename') ?? null }
}

/** Where some bytes begin in others, or -1. The platform searches for the first of them. */
function indexOf(bytes: Uint8Array, searched: Uint8Array): number {
  const [first = 0] = searched
  for (let at = bytes.indexOf(first); at !== -1; at = bytes.indexOf(first, at + 1)) {
    if (at + searched.length > bytes.length) return -1
    let i = 1
    while (i < searched.length && bytes[at + i] === searched[i]) i += 1
    if (i === searched.length) return at
  }
  return -1
}
