import type { ApiShape, ErrorNotice, StreamIdentity } from './api-shape.ts'
import { chatCompletions } from './chat-completions.ts'
import { openRouterError } from './openrouter-error.ts'

/** OpenAI's legacy text completions: chat's stream, with a text in the place of a delta. */
export const completions: ApiShape = {
  ...chatCompletions,
  path: 'completions',
  // A prompt says everything at once: there is nothing that further turns would have in common.
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
