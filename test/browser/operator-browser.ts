import type { Browser, BrowserContext, BrowserContextOptions, Page } from 'playwright-core'
import { afterAll, beforeAll, expect } from 'vitest'
import type { Gateway } from '../e2e/harness.ts'
import { startChromium } from './chromium.ts'

export const ADMIN_TOKEN = 'admin-token-of-the-browser-tests-01'

/** A desk's screen and a phone's. */
export const SCREENS = {
  desk: { width: 1280, height: 800 },
  phone: { width: 390, height: 844 },
} as const

/** A page of an operator, and what it did that nobody should notice. */
export interface OperatorPage {
  readonly page: Page
  readonly context: BrowserContext
  /** Requests to other origins, answers that are errors, and lines of the console. */
  readonly offences: string[]
}

/** One browser for all tests of a file. */
export function useBrowser(gateway: () => Gateway) {
  let browser: Browser | null = null
  beforeAll(async () => {
    browser = await startChromium()
  })
  afterAll(() => browser?.close())

  const open = async (options: BrowserContextOptions = {}): Promise<OperatorPage> => {
    if (browser === null) throw new Error('Only within a test')
    const context = await browser.newContext({
      viewport: SCREENS.desk,
      timezoneId: 'America/New_York',
      locale: 'en-US',
      ...options,
    })
    const page = await context.newPage()
    page.setDefaultTimeout(20_000)
    const offences: string[] = []
    const { origin } = gateway()
    page.on('console', (message) => offences.push(`console: ${message.text()}`))
    page.on('pageerror', (error) => offences.push(`error: ${error.message}`))
    page.on('request', (request) => {
      if (new URL(request.url()).origin !== origin) offences.push(`request: ${request.url()}`)
    })
    return { page, context, offences }
  }

  /** Opens the dashboard, signed in, and live. */
  const signedIn = async (options: BrowserContextOptions = {}): Promise<OperatorPage> => {
    const opened = await open(options)
    const { page } = opened
    await page.goto(`${gateway().origin}/admin`)
    // The field has the focus by itself.
    await page.locator('input[name=token]:focus').waitFor()
    await page.keyboard.type(ADMIN_TOKEN)
    await page.keyboard.press('Enter')
    await page.locator('#headline').waitFor()
    return opened
  }
  return { open, signedIn }
}

/** Moves the focus by the Tab key to an element with that name, as somebody without a mouse does. */
export async function tabTo(page: Page, name: string): Promise<void> {
  const nameOfFocus = async (): Promise<unknown> =>
    await page.evaluate(`(({ activeElement: element }) =>
      (element?.ariaLabel ?? element?.labels?.[0]?.textContent ?? element?.textContent ?? '').trim()
    )(document)`)
  for (let presses = 0; presses < 100; presses += 1) {
    if ((await nameOfFocus()) === name) return
    await page.keyboard.press('Tab')
  }
  expect(await nameOfFocus(), 'what the Tab key reaches').toBe(name)
}

/** Goes to what has that name by the Tab key alone, and presses Enter on it. */
export async function enterOn(page: Page, name: string): Promise<void> {
  await tabTo(page, name)
  await page.keyboard.press('Enter')
}
