import type { Answer } from './answer.ts'

/** Consecutive pieces of an answer that some APIs put into one frame. */
export interface Block {
  readonly kind: 'reasoning' | 'text' | 'tool'
  /** The tool's name; empty for the other kinds. */
  readonly name: string
  /** One text per token; for a tool, its arguments. */
  readonly texts: readonly string[]
}

/** The blocks of an answer, in order. The tool of a cut answer may have no arguments. */
export function blocksOf(answer: Answer): Block[] {
  const blocks: { kind: Block['kind']; name: string; texts: string[] }[] = []
  for (const piece of answer.pieces) {
    if (piece.kind === 'tool-name') {
      blocks.push({ kind: 'tool', name: piece.text, texts: [] })
      continue
    }
    const kind = piece.kind === 'tool-arguments' ? 'tool' : piece.kind
    const last = blocks.at(-1)
    if (last?.kind === kind) last.texts.push(piece.text)
    else blocks.push({ kind, name: '', texts: [piece.text] })
  }
  return blocks
}
