import { z } from 'zod'
import type { Played, Step } from './reply.ts'

export const scriptSchema = z.strictObject({
  status: z.number().int().min(200).max(599).default(200),
  headers: z.record(z.string(), z.string()).default({ 'content-type': 'text/event-stream' }),
  chunks: z.array(
    z
      .strictObject({
        text: z.string().optional(),
        base64: z.base64().optional(),
        delayMs: z.number().nonnegative().default(0),
      })
      .refine((chunk) => (chunk.text === undefined) !== (chunk.base64 === undefined), {
        message: 'a chunk has either text or base64',
      }),
  ),
  /** After the last chunk: a clean end, a broken connection, or silence without an end. */
  end: z.enum(['close', 'error', 'hang']).default('close'),
})
export type ScriptInput = z.input<typeof scriptSchema>
export type Script = z.infer<typeof scriptSchema>

const encoder = new TextEncoder()

/** A reply with exactly the script's status, headers and bytes, chunk by chunk. */
export function scripted(script: Script): Played {
  const steps = script.chunks.map((chunk): Step => {
    const bytes =
      chunk.base64 === undefined
        ? encoder.encode(chunk.text)
        : Uint8Array.from(atob(chunk.base64), (character) => character.charCodeAt(0))
    return { kind: 'body', bytes, afterMs: chunk.delayMs, tokens: 0 }
  })
  return {
    kind: 'played',
    status: script.status,
    headers: script.headers,
    steps,
    ending: script.end === 'hang' ? 'silence' : script.end,
    error: script.end === 'close' && script.status < 400 ? null : 'script',
    scene: null,
  }
}
