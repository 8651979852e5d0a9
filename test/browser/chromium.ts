import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { type Browser, chromium } from 'playwright-core'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']

/** The program of a Chromium that is installed here; null if there is none. */
export function chromiumPath(): string | null {
  const folders = (process.env.PATH ?? '').split(delimiter)
  const paths = folders.flatMap((folder) => NAMES.map((name) => join(folder, name)))
  return paths.find((path) => existsSync(path)) ?? null
}

/**
 * Starts it without a window.
 * @throws if there is none
 */
export async function startChromium(): Promise<Browser> {
  const executablePath = chromiumPath()
  if (executablePath === null) {
    throw new Error('Chromium is not installed: apt-get install --no-install-recommends chromium')
  }
  // Root, as in a container, may not use its sandbox. It sees this repository's own pages only.
  const args = process.getuid?.() === 0 ? ['--no-sandbox'] : []
  return await chromium.launch({ executablePath, args })
}
