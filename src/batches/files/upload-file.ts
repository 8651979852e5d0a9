import type { BatchEndpoint } from './batch-endpoint.ts'
import { FormReader } from './form-reader.ts'
import { type CheckedLines, JsonlCheck } from './jsonl-check.ts'
import type { PartWriter } from './part-writer.ts'

/** What an upload was found to be. */
export type Uploaded =
  | {
      readonly kind: 'file'
      readonly filename: string
      readonly bytes: number
      readonly checked: CheckedLines
      /** The other fields of the form, by name. */
      readonly fields: ReadonlyMap<string, string>
    }
  | { readonly kind: 'fault'; readonly fault: UploadFault }

export type UploadFault = 'no_form' | 'no_file' | 'too_large' | 'incomplete' | 'late'

/** The next bytes of a body; null at its end. */
export type Piece = Uint8Array | null | 'incomplete' | 'late'

/** A longer value of a field is none that anybody reads. */
const MAX_FIELD_BYTES = 1024
const decoder = new TextDecoder()

/**
 * Takes a form with one file as it comes: checks the lines of the file, and writes it. It holds a line,
 * a part of the file, and a piece of the body.
 *
 * @param read the next piece of the body. Never rejects
 */
export async function takeUpload(
  read: () => Promise<Piece>,
  contentType: string,
  into: UploadTarget,
): Promise<Uploaded> {
  const form = FormReader.of(contentType)
  if (form === null) return { kind: 'fault', fault: 'no_form' }
  const taking = new Taking(into)
  for (;;) {
    const piece = await read()
    if (typeof piece === 'string') return { kind: 'fault', fault: piece }
    for (const event of piece === null ? form.end() : form.push(piece)) {
      const fault = await taking.take(event)
      if (fault !== null) return { kind: 'fault', fault }
    }
    if (piece === null) return await taking.end()
  }
}

/** Where an upload goes. */
export interface UploadTarget {
  /** It is left as it is: the caller ends it, or gives it up. */
  readonly writer: PartWriter
  readonly maxBytes: number
  /** Is given each line that is in order; null where nobody wants to know. */
  readonly estimate: ((line: Uint8Array, endpoint: BatchEndpoint) => Promise<void>) | null
}

type FormEvent = ReturnType<FormReader['push']>[number]

class Taking {
  readonly #writer: PartWriter
  readonly #maxBytes: number
  readonly #check: JsonlCheck
  /** Adds a line of the last piece to the estimate. */
  readonly #unestimated: (() => Promise<void>)[] = []
  readonly #fields = new Map<string, string>()
  /** The part that is read: the file, or a field with what has come of it. */
  #part: { readonly name: string; value: string } | 'file' | null = null
  #filename: string | null = null

  constructor({ writer, maxBytes, estimate }: UploadTarget) {
    this.#writer = writer
    this.#maxBytes = maxBytes
    this.#check = new JsonlCheck(
      estimate && ((...line) => void this.#unestimated.push(() => estimate(...line))),
    )
  }

  async take(event: FormEvent): Promise<UploadFault | null> {
    switch (event.kind) {
      case 'part':
        return this.#begin(event)
      case 'bytes':
        return await this.#add(event.bytes)
      case 'part_end':
        if (this.#part !== 'file' && this.#part !== null) {
          this.#fields.set(this.#part.name, this.#part.value)
        }
        this.#part = null
        return null
      case 'broken':
        return 'incomplete'
    }
  }

  async end(): Promise<Uploaded> {
    if (this.#filename === null) return { kind: 'fault', fault: 'no_file' }
    const checked = this.#check.end()
    await this.#estimate()
    return {
      kind: 'file',
      filename: this.#filename,
      bytes: this.#writer.bytes,
      checked,
      fields: this.#fields,
    }
  }

  #begin({ name, filename }: { readonly name: string; readonly filename: string | null }) {
    if (name !== 'file') this.#part = { name, value: '' }
    // Two files would be written into one.
    else if (this.#filename !== null) return 'no_file'
    else {
      this.#filename = filename ?? 'file.jsonl'
      this.#part = 'file'
    }
    return null
  }

  async #add(bytes: Uint8Array): Promise<UploadFault | null> {
    const part = this.#part
    if (part === 'file') {
      if (this.#writer.bytes + bytes.length > this.#maxBytes) return 'too_large'
      this.#check.push(bytes)
      await this.#estimate()
      await this.#writer.write(bytes)
    } else if (part !== null && part.value.length < MAX_FIELD_BYTES) {
      part.value += decoder.decode(bytes.subarray(0, MAX_FIELD_BYTES))
    }
    return null
  }
  async #estimate(): Promise<void> {
    for (const add of this.#unestimated.splice(0)) await add()
  }
}
