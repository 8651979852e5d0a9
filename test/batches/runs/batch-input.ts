import type { LineRange } from '../../../src/batches/files/line-ranges.ts'

/** The file of some requests, and its ranges. Those of an upload are longer than most tests want. */
export function inputOf(ids: readonly string[], perRange: number, body: object = {}) {
  const encoder = new TextEncoder()
  const ranges: LineRange[] = []
  let text = ''
  for (const [i, id] of ids.entries()) {
    const line = `${JSON.stringify({
      ...{ custom_id: id, method: 'POST', url: '/v1/chat/completions' },
      body: { model: 'vendor/model', messages: [{ role: 'user', content: id }], ...body },
    })}\n`
    const open = ranges.at(-1)
    if (open === undefined || i % perRange === 0) {
      ranges.push({ firstRequest: i + 1, requests: 1, offset: text.length, bytes: line.length })
    } else {
      const { requests, bytes } = open
      ranges.splice(-1, 1, { ...open, requests: requests + 1, bytes: bytes + line.length })
    }
    text += line
  }
  return { bytes: encoder.encode(text), ranges }
}
