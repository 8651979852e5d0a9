import { estimateTokenCount, type TokenEstimationOptions } from 'tokenx'
import type { JsonObject } from '../json-value.ts'
import { type Attachment, visitPrompt } from './prompt-parts.ts'

/**
 * A prompt of up to SAMPLES × SAMPLE_LENGTH characters is counted whole, which takes some 4 ms at
 * most. Many short samples rather than a few long ones: what counts is how many places are seen.
 */
const SAMPLES = 128
const SAMPLE_LENGTH = 256

/**
 * No text has fewer tokens than one for so many characters. Blanks in a row have, but tokenx counts
 * them as nothing however many they are, and then as many as one likes would pass for nothing.
 */
const MAX_CHARACTERS_PER_TOKEN = 8

/** What an image, a recording or a file has at least, and characters of base64 for each further. */
const ATTACHMENT_TOKENS = 1000
const ATTACHMENT_CHARACTERS_PER_TOKEN = 200
/** Of base64 that holds text: four characters are three bytes. */
const TEXT_FILE_CHARACTERS_PER_TOKEN = 5

/** Letters of scripts that tokenx has no figures for and would count like English. */
const OTHER_SCRIPTS =
  /[^\p{Script=Latin}\p{Script=Cyrillic}\p{Script=Greek}\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Script=Common}\p{Script=Inherited}]/u

/**
 * tokenx knows languages, but counts what is none of them like long words: seven characters for a
 * token where tokenizers need one or two. The first pattern that a word matches gives its measure.
 * Measured against o200k_base and cl100k_base.
 */
const OPTIONS: TokenEstimationOptions = {
  languageConfigs: [
    // Emoji within a word, rare ideographs, letters of mathematics.
    { pattern: /[\uD800-\uDFFF]/, averageCharsPerToken: 0.6 },
    { pattern: OTHER_SCRIPTS, averageCharsPerToken: 2 },
    // Binary data in a string.
    { pattern: /[\p{Cc}\uFFFD]/u, averageCharsPerToken: 1 },
    // Base64, hashes, ids; signs in a row that are not all the same.
    {
      pattern:
        /^(?:(?!\d+$)\w{48,}|(?=\D*\d)(?=\w*[A-Za-z])\w{10,}|(?!.{0,31}(.)\1\1)[!-/:-@[-`{-~]{8,})$/,
      averageCharsPerToken: 1.7,
    },
  ],
}

/**
 * How many tokens a request's prompt is likely to have, whichever of OpenRouter's shapes it is in:
 * for reservations, which are corrected by the usage that comes back. Tokenizers differ by far more
 * than this is wrong, for most texts.
 *
 * Of a long prompt only samples are counted: tokenx takes some 100 ms for a megabyte of English and
 * 1.2 s for ten, samples take 2 ms of either. They lie at random places, one in each of equal
 * stretches: whoever knew the places could put anything between them. (Measured with a megabyte of
 * Chinese that had blanks where fixed samples lay: they saw 15 % of its tokens, and requests like it
 * used 4.4 times the `tpm` of their key; random ones kept within it.)
 *
 * What the samples show is not raised by a margin. (Measured with megabytes of chats, documents, code,
 * JSON and logs: two standard errors made estimates 2 % to 8.5 % too high on average and 16 % at worst,
 * and without them they are off by 0.7 % to 2 % and by 7 %. At a key that was offered 1.3 times its
 * `tpm` in such prompts the margin cost up to 1 % of the requests served, and took up to 3 % off the
 * most tokens that a minute had.)
 * @param random as `Math.random`
 * @returns a whole number, 0 where there is no prompt
 */
export function estimatePromptTokens(body: JsonObject, random: () => number): number {
  let length = 0
  let tokens = 0
  visitPrompt(body, {
    text: (text) => {
      length += text.length
    },
    attachment: (attachment) => {
      tokens += attachmentTokens(attachment)
    },
    scalar: (value) => {
      tokens += scalarTokens(value)
    },
  })
  const counter =
    length <= SAMPLES * SAMPLE_LENGTH ? createCounter() : createSampler(length, random)
  visitPrompt(body, { text: counter.read })
  return Math.ceil(tokens + counter.tokens())
}

function attachmentTokens({ length, isText }: Attachment): number {
  const charactersPerToken = isText
    ? TEXT_FILE_CHARACTERS_PER_TOKEN
    : ATTACHMENT_CHARACTERS_PER_TOKEN
  return ATTACHMENT_TOKENS + Math.ceil(length / charactersPerToken)
}

/** A token id is one token, as is a short number; a long one is a token for three digits. */
function scalarTokens(value: unknown): number {
  const isLong = typeof value === 'number' && !(Number.isInteger(value) && Math.abs(value) < 1e6)
  return isLong ? Math.ceil(String(value).length / 3) : 1
}

function textTokens(text: string): number {
  return Math.max(
    estimateTokenCount(text, OPTIONS),
    Math.ceil(text.length / MAX_CHARACTERS_PER_TOKEN),
  )
}

/** Reads a text in pieces and says how many tokens the whole has. */
interface TokenCounter {
  readonly read: (text: string) => void
  readonly tokens: () => number
}

function createCounter(): TokenCounter {
  let tokens = 0
  return {
    read: (text) => {
      tokens += textTokens(text)
    },
    tokens: () => tokens,
  }
}

/** @param length of all that will be read, in characters */
function createSampler(length: number, random: () => number): TokenCounter {
  const stretch = length / SAMPLES
  const startOf = (sample: number) =>
    Math.floor(sample * stretch + random() * (stretch - SAMPLE_LENGTH))
  let position = 0
  let sample = 0
  let start = startOf(0)
  let counted = 0

  const finishSample = () => {
    sample += 1
    start = sample < SAMPLES ? startOf(sample) : Number.POSITIVE_INFINITY
  }

  const read = (text: string) => {
    const end = position + text.length
    while (start < end) {
      counted += textTokens(
        text.slice(Math.max(0, start - position), start + SAMPLE_LENGTH - position),
      )
      if (start + SAMPLE_LENGTH > end) break
      finishSample()
    }
    position = end
  }

  return { read, tokens: () => counted * (length / (SAMPLES * SAMPLE_LENGTH)) }
}
