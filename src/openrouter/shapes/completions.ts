import type { ApiShape, ErrorNotice, StreamIdentity } from './api-shape.ts'
import { chatCompletions } from './chat-completions.ts'
import { openRouterError } from './openrouter-error.ts'

/** OpenAI's legacy text completions: the stream of chat, with a text in place of a delta. */
export const completions: ApiShape = {
  ...chatCompletions,
  path: 'completions',
  // A prompt holds the whole text, so there is no opening that later turns would share.
  openingOf: () => [],
  errorEvent,
}

function errorEvent(notice: ErrorNotice & StreamIdentity): string {
  const chunk = {
    id: notice.id ?? '',
    object: 'text_completion',
    created: notice.created ?? 0,
    model: notice.model ?? '',
    choices: [{ index: 0, text: '', finish_reason: 'error', native_finish_reason: null }],
    ...openRouterError(notice),
  }
  return `data: ${JSON.stringify(chunk)}\n\ndata: [DONE]\n\n`
}
