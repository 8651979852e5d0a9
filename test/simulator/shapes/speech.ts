import type { ApiShape, Parsed } from '../api-shape.ts'
import { type Body, invalid, readBody, stringOf, thing } from '../request-fields.ts'
import { openRouterError } from './openrouter-error.ts'
import { plainWording } from './plain-wording.ts'

/** Header of an MPEG-1 layer III frame: 128 kbit/s, 44.1 kHz, one channel, no checksum. */
const FRAME_HEADER = [0xff, 0xfb, 0x90, 0xc4]
const FRAME_BYTES = 417
const MAX_FRAMES = 400

/** Frames of silence: a player accepts them, and no byte of them is text. */
function mp3(frames: number): Uint8Array {
  const bytes = new Uint8Array(frames * FRAME_BYTES)
  for (let frame = 0; frame < frames; frame += 1) bytes.set(FRAME_HEADER, frame * FRAME_BYTES)
  return bytes
}

function read(body: Body, model: string): Parsed {
  const input = stringOf(body.input)
  if (input === null || input === '') return invalid('Input required: specify "input"')
  const pcm = body.response_format === 'pcm'
  const frames = Math.min(MAX_FRAMES, 1 + Math.ceil(input.length / 4))
  const sound = pcm ? new Uint8Array(frames * 480) : mp3(frames)
  const wording = plainWording(
    () => ({}),
    () => ({}),
  )
  return thing(
    model,
    { promptTokens: input.length },
    {
      ...wording,
      contentType: pcm ? 'audio/pcm' : 'audio/mpeg',
      answer: ({ finishReason }) => (finishReason === null ? new Uint8Array() : sound),
    },
  )
}

/** POST /audio/speech: sound, not JSON. GET /generation gives its cost, by its id. */
export const speech: ApiShape = {
  path: '/audio/speech',
  apiType: 'tts',
  takesForms: false,
  parse: (body) => readBody(body, read),
  errorBody: openRouterError,
}
