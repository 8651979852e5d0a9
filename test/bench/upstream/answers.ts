import { MODELS } from '../mix.ts'

/** What the upstream says, ready to be written but for an id and, in events, the time. */

const ID_DIGITS = 12
const ID_MARK = '0'.repeat(ID_DIGITS)

let answered = 0

/** Each answer has an id of its own, as OpenRouter's have: gateways remember them. */
export function nextId(): string {
  answered += 1
  return String(answered).padStart(ID_DIGITS, '0')
}

const USAGE = {
  prompt_tokens: 250,
  completion_tokens: 200,
  total_tokens: 450,
  cost: 0.000_12,
  prompt_tokens_details: { cached_tokens: 0 },
  completion_tokens_details: { reasoning_tokens: 0 },
}

const IDENTITY = {
  id: `gen-${ID_MARK}`,
  provider: 'Bench',
  model: 'bench/answer',
  created: 1_767_225_600,
}

/** A whole answer in two parts: the id stands between them. */
export interface WholeAnswer {
  readonly before: string
  readonly after: Buffer
}

/** @param bytes size of its body, in bytes */
export function wholeAnswer(bytes: number): WholeAnswer {
  const body = (content: string) =>
    JSON.stringify({
      ...IDENTITY,
      object: 'chat.completion',
      choices: [{ index: 0, finish_reason: 'stop', message: { role: 'assistant', content } }],
      usage: USAGE,
    })
  const prose = 'An answer of some length, in plain words. '
  const length = bytes - body('').length
  return split('200 OK', body(prose.repeat(Math.ceil(length / prose.length)).slice(0, length)))
}

/** An outage as OpenRouter tells of it. */
export function failedAnswer(): WholeAnswer {
  const error = { code: 502, message: 'Provider returned error' }
  return split('502 Bad Gateway', JSON.stringify({ error, user_id: `user-${ID_MARK}` }))
}

/** What `GET /key` says of every key. */
export function keyAnswer(): WholeAnswer {
  const data = {
    label: `sk-or-v1-${ID_MARK}`,
    limit: 1_000_000,
    limit_remaining: 900_000,
    limit_reset: null,
    usage: 100_000,
    is_free_tier: false,
  }
  return split('200 OK', JSON.stringify({ data }))
}

/** As long as OpenRouter's list of models. */
const LIST_BYTES = 1_000_000

/** The list of models, which caches may keep. */
export function listAnswer(): WholeAnswer {
  const pricing = { prompt: '0.000001', completion: '0.000002' }
  const data = [
    { id: ID_MARK, description: 'A model of some kind. '.repeat(LIST_BYTES / 22) },
    ...Object.values(MODELS).map((id) => ({ id, pricing })),
  ]
  return split('200 OK', JSON.stringify({ data }), ['cache-control: public, max-age=300'])
}

export function missingAnswer(): WholeAnswer {
  const error = { code: 404, message: `Not Found ${ID_MARK}` }
  return split('404 Not Found', JSON.stringify({ error }))
}

function split(status: string, body: string, headers: readonly string[] = []): WholeAnswer {
  const [before = '', after = ''] = body.split(ID_MARK)
  const head = [
    `HTTP/1.1 ${status}`,
    'content-type: application/json',
    `content-length: ${body.length}`,
    ...headers,
  ].join('\r\n')
  return { before: `${head}\r\n\r\n${before}`, after: Buffer.from(after) }
}

export const STREAM_HEAD = [
  'HTTP/1.1 200 OK',
  'content-type: text/event-stream',
  'cache-control: no-cache',
  'transfer-encoding: chunked',
  '\r\n',
].join('\r\n')

/** The time that an event is written at stands in its text, behind this and in so many digits. */
export const TIME_MARK = '@'
export const TIME_DIGITS = 16

/** Microseconds on a clock that all processes of a machine share. */
export function sharedClockUs(): number {
  const [seconds, nanoseconds] = process.hrtime()
  return seconds * 1e6 + Math.round(nanoseconds / 1e3)
}

/** Events of a stream, all in one chunk, with the time in them. */
export function eventChunk(id: string, count = 1): string {
  const time = String(sharedClockUs()).padStart(TIME_DIGITS, '0')
  return chunk((EVENT_START + id + EVENT_MIDDLE + time + EVENT_END).repeat(count))
}

const [EVENT_START = '', EVENT_MIDDLE = '', EVENT_END = ''] = eventText({
  delta: { role: 'assistant', content: `${TIME_MARK}TIME` },
  finish_reason: null,
}).split(new RegExp(`${ID_MARK}|TIME`))

/** What comes last: why it stopped, what it used, and the end of the stream. */
export function endChunk(id: string): string {
  const last = eventText({ delta: { content: '' }, finish_reason: 'stop' }, USAGE)
  return `${chunk(`${last.replace(ID_MARK, id)}data: [DONE]\n\n`)}0\r\n\r\n`
}

function eventText(choice: object, usage?: object): string {
  const event = {
    ...IDENTITY,
    object: 'chat.completion.chunk',
    choices: [{ index: 0, native_finish_reason: null, logprobs: null, ...choice }],
    ...(usage && { usage }),
  }
  return `data: ${JSON.stringify(event)}\n\n`
}

/** All texts here are ASCII, so that characters are bytes. */
function chunk(text: string): string {
  return `${text.length.toString(16)}\r\n${text}\r\n`
}
