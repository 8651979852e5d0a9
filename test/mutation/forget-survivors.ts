import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/**
 * Before a wide run: strikes what has survived out of what Stryker remembers, so that it is tried again, and
 * that alone.
 */
const memory = fileURLToPath(new URL('../../.stryker-tmp/incremental.json', import.meta.url))

interface Remembered {
  readonly files: Readonly<Record<string, { mutants: { readonly status: string }[] }>>
}

const isSettled = ({ status }: { readonly status: string }) =>
  status !== 'Survived' && status !== 'NoCoverage'

if (process.env.WIDE === '1' && existsSync(memory)) {
  const remembered = JSON.parse(readFileSync(memory, 'utf8')) as Remembered
  for (const file of Object.values(remembered.files)) file.mutants = file.mutants.filter(isSettled)
  writeFileSync(memory, JSON.stringify(remembered))
}
