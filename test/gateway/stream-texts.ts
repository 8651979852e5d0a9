/**
 * Streams in the forms that OpenRouter has been observed to send, with texts of our own: comments,
 * and events that end with a blank line.
 */

export const PROCESSING = ': OPENROUTER PROCESSING\n\n'
export const DONE = 'data: [DONE]\n\n'

const IDENTITY = {
  id: 'gen-1700000000-switchyard',
  object: 'chat.completion.chunk',
  created: 1_700_000_000,
  model: 'vendor/model',
  provider: 'Vendor',
}

const NEW_USAGE = {
  prompt_tokens: 21,
  completion_tokens: 3,
  total_tokens: 24,
  cost: 0.0005,
  is_byok: false,
  prompt_tokens_details: { cached_tokens: 0, cache_write_tokens: 0 },
  cost_details: { upstream_inference_cost: 0.0005 },
  completion_tokens_details: { reasoning_tokens: 0 },
}

const CACHED_USAGE = { ...NEW_USAGE, prompt_tokens_details: { cached_tokens: 16 } }

/** An event with these fields, as text with one `data` line. */
export function eventOf(fields: Readonly<Record<string, unknown>>): string {
  return `data: ${JSON.stringify({ ...IDENTITY, ...fields })}\n\n`
}

function choiceOf(delta: Readonly<Record<string, unknown>>, finish: string | null = null): string {
  return eventOf({ choices: [{ index: 0, delta, finish_reason: finish }] })
}

/** A delta with a role and no content yet. */
export const ROLE = choiceOf({ role: 'assistant', content: '' })
/** A delta without any field. */
export const EMPTY_DELTA = choiceOf({})
export const STOP = choiceOf({ role: 'assistant', content: '' }, 'stop')
/** The newer form repeats the finished choice beside the usage. */
export const USAGE = eventOf({
  choices: [{ index: 0, delta: { role: 'assistant', content: '' }, finish_reason: 'stop' }],
  usage: NEW_USAGE,
})
/** The older form has no choices. */
export const OLD_USAGE = eventOf({ choices: [], usage: CACHED_USAGE })

export function said(content: string): string {
  return choiceOf({ role: 'assistant', content })
}

export function thought(text: string): string {
  const details = [{ type: 'reasoning.text', text, index: 0, format: null }]
  return choiceOf({ role: 'assistant', content: '', reasoning: text, reasoning_details: details })
}

/** An error in a stream, in the form of 2025: at the top level, beside choices without content. */
export function errorEventOf(
  code: number,
  message: string,
  metadata?: Readonly<Record<string, unknown>>,
): string {
  return eventOf({
    error: { code, message, ...(metadata === undefined ? {} : { metadata }) },
    choices: [{ index: 0, delta: { role: 'assistant', content: '' }, finish_reason: null }],
  })
}

/** An error in the newer form: the choice's finish reason is the error. */
function newErrorEventOf(code: number | string, message: string): string {
  return eventOf({
    error: { code, message, metadata: { error_type: 'provider_unavailable' } },
    choices: [{ index: 0, delta: { content: '' }, finish_reason: 'error' }],
  })
}

/** A short good answer. */
export const HELLO = [ROLE, said('Hel'), said('lo'), STOP, USAGE, DONE].join('')

const TOOL_CALL = [
  choiceOf({ role: 'assistant', content: null }),
  choiceOf({ tool_calls: [{ index: 0, id: 'call_1', function: { name: 'sum', arguments: '' } }] }),
  choiceOf({ tool_calls: [{ index: 0, function: { arguments: '{"of":[1,2]}' } }] }),
  choiceOf({ content: '' }, 'tool_calls'),
  USAGE,
  DONE,
].join('')

/** Streams that must arrive exactly as they were sent. Each name says what is special about it. */
export const STREAM_TEXTS: ReadonlyMap<string, string> = new Map([
  ['usage in the newer form', PROCESSING + HELLO],
  ['usage in the older form', PROCESSING.repeat(3) + said('Hi') + STOP + OLD_USAGE + DONE],
  ['tool calls', TOOL_CALL],
  [
    'reasoning and then an error in the older form',
    PROCESSING.repeat(2) + thought('We need') + thought(' to') + errorEventOf(400, 'Limit') + DONE,
  ],
  ['an error in the newer form', said('Once upon') + newErrorEventOf('502', 'Provider left')],
  ['comments between events', `${ROLE}${PROCESSING}${said('Hi')}${PROCESSING}${STOP}:\n\n${DONE}`],
  ['lines that end with CR LF', (PROCESSING + said('Hi') + STOP + DONE).replaceAll('\n', '\r\n')],
  ['lines that end with CR', (PROCESSING + said('Hi') + STOP + DONE).replaceAll('\n', '\r')],
  ['a byte order mark', `\ufeff${said('Hi')}${STOP}${DONE}`],
  ['a long line', said('long '.repeat(150)) + STOP + DONE],
  ['characters of several bytes', said('Grüße, 世界 👋🏽') + STOP + DONE],
  ['no blank line at the end', said('Hi') + STOP + DONE.trimEnd()],
  ['event names, ids and retry fields', `event: message\nid: 7\nretry: 9\n${said('Hi')}${DONE}`],
])

interface ErrorInStream {
  readonly code: number
  readonly message: string
  readonly metadata: Readonly<Record<string, unknown>>
}

/** The errors that a client finds in a stream, each with the finish reason of its choice. */
export function errorsIn(text: string): { error: ErrorInStream; finish: unknown }[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('data: {'))
    .flatMap((line) => {
      const { error, choices } = JSON.parse(line.slice('data: '.length))
      return error === undefined ? [] : [{ error, finish: choices?.[0]?.finish_reason }]
    })
}
