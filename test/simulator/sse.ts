import type { EventKind, StreamEvent } from './api-shape.ts'

/** The comment that OpenRouter sends in all APIs while there is nothing else to send. */
export const COMMENT: StreamEvent = {
  kind: 'comment',
  text: ': OPENROUTER PROCESSING\n\n',
  tokens: 0,
}

export const DONE: StreamEvent = { kind: 'done', text: 'data: [DONE]\n\n', tokens: 0 }

/** An event of one `data:` line. By default, an output event carries one token, others none. */
export function dataEvent(
  kind: EventKind,
  data: unknown,
  tokens = kind === 'output' ? 1 : 0,
): StreamEvent {
  return { kind, text: `data: ${JSON.stringify(data)}\n\n`, tokens }
}
