import type { EventKind, StreamEvent } from './api-shape.ts'

/** What OpenRouter writes while there is nothing to say, whatever the API. */
export const COMMENT: StreamEvent = {
  kind: 'comment',
  text: ': OPENROUTER PROCESSING\n\n',
  tokens: 0,
}

export const DONE: StreamEvent = { kind: 'done', text: 'data: [DONE]\n\n', tokens: 0 }

/** An event of one `data:` line; it carries a token when it is output, unless told otherwise. */
export function dataEvent(
  kind: EventKind,
  data: unknown,
  tokens = kind === 'output' ? 1 : 0,
): StreamEvent {
  return { kind, text: `data: ${JSON.stringify(data)}\n\n`, tokens }
}
