"""Positions: of inputs, of queries and keys, of pairs."""

import math

import numpy as np

from tests.oracles import helpers
from tests.oracles.helpers import dot, double, sigmoid, table


def position_sinusoidal(positions, width, base=10000.0):
    """e_{2m} = sin(p/base^{2m/D}), e_{2m+1} = cos(p/base^{2m/D}) for each position p (Vaswani et al. 2017)."""

    def entry(t, column):
        angle = int(positions[t]) / float(base) ** (2 * (column // 2) / width)
        return math.cos(angle) if column % 2 else math.sin(angle)

    return table(len(positions), width, entry)


def position_learned(positions, table):
    """e = the row of the table at position p; NaN for a position that the table does not have."""
    rows, width = np.shape(table)
    result = np.full((len(positions), width), math.nan)
    for t, position in enumerate(positions):
        if 0 <= position < rows:
            result[t] = table[int(position)]
    return result


def rope_pairs(rotated, layout):
    """(a, b)ₘ, m < R/2: (m, m + R/2) for half, (2m, 2m + 1) for interleaved."""
    if layout == "half":
        return [(m, m + rotated // 2) for m in range(rotated // 2)]
    if layout == "interleaved":
        return [(2 * m, 2 * m + 1) for m in range(rotated // 2)]
    raise ValueError(f"layout must be half or interleaved, got {layout!r}")


def rope_turn(vectors, positions, frequencies, layout, amplitude=1.0):
    """(xₐ, x_b)ₘ ← amplitude·(xₐ cos θ − x_b sin θ, xₐ sin θ + x_b cos θ), θ = p·frequencyₘ."""
    vectors = double(vectors)
    result = vectors.copy()
    for t in range(len(result)):
        for m, (a, b) in enumerate(rope_pairs(2 * len(frequencies), layout)):
            angle = int(positions[t]) * frequencies[m]
            left, right = vectors[t, a], vectors[t, b]
            result[t, a] = amplitude * (left * math.cos(angle) - right * math.sin(angle))
            result[t, b] = amplitude * (left * math.sin(angle) + right * math.cos(angle))
    return result


def rope_frequencies(rotated, base):
    """ωₘ = base^{−2m/R}, m < R/2."""
    return [float(base) ** (-2 * m / rotated) for m in range(rotated // 2)]


def rope_rotate(vectors, positions, base, layout, rotated):
    """(xₐ, x_b)ₘ ← (xₐ cos θ − x_b sin θ, xₐ sin θ + x_b cos θ), θ = p·base^{−2m/R}, R = rotated or K."""
    return rope_turn(vectors, positions, rope_frequencies(rotated or np.shape(vectors)[1], base), layout)


def position_rope(query, key, query_positions, key_positions, base=10000.0, layout="half", rotated=None):
    """qᵢ ← R(pᵢ) qᵢ, kⱼ ← R(pⱼ) kⱼ on the first R coordinates, so that qᵢ·kⱼ sees only pᵢ − pⱼ (Su et al. 2021)."""
    query = rope_rotate(query, query_positions, base, layout, rotated)
    key = rope_rotate(key, key_positions, base, layout, rotated)
    return query, key


def position_alibi(query_positions, key_positions, slope):
    """bᵢⱼ = −slope·|pᵢ − pⱼ| (Press et al. 2022)."""
    rows, columns = [int(p) for p in query_positions], [int(p) for p in key_positions]
    return table(len(rows), len(columns), lambda i, j: -float(slope) * abs(rows[i] - columns[j]))


def alibi_slopes(heads):
    """s_h = 2^{−8(h+1)/H}, H = 2ⁿ; else those of P = 2^⌊log₂ H⌋, then the 1st, 3rd, 5th … of 2P's, until H."""
    power = 1
    while 2 * power <= heads:
        power *= 2
    slopes = [2 ** (-8 * (h + 1) / power) for h in range(power)]
    between = [2 ** (-8 * (h + 1) / (2 * power)) for h in range(0, 2 * power, 2)]
    return double(slopes + between[: heads - power])


def position_cope(scores, query, mask, embedding):
    """xᵢⱼ ← xᵢⱼ + (1−λ) qᵢ·e_⌊p⌋ + λ qᵢ·e_⌈p⌉, p = min(Σ_{s≥j} gᵢₛ, P−1), λ = p − ⌊p⌋, gᵢₛ = mᵢₛ σ(xᵢₛ)."""
    scores, query, mask, embedding = double(scores), double(query), np.asarray(mask), double(embedding)
    rows, columns = scores.shape

    def entry(i, j):
        gates = sum((sigmoid(scores[i, s]) for s in range(j, columns) if mask[i, s]), 0.0)
        position = min(gates, len(embedding) - 1.0)
        low, high = math.floor(position), math.ceil(position)
        share = position - low
        logit = (1 - share) * dot(query[i], embedding[low]) + share * dot(query[i], embedding[high])
        return scores[i, j] + logit

    return table(rows, columns, entry)


def position_rope_linear(
  query, key, query_positions, key_positions, factor=2.0, base=10000.0, layout="half", rotated=None
):  # fmt: skip
    """Rope with θ = p·ωₘ/factor: positions interpolated (Chen et al. 2023)."""
    frequencies = [w / float(factor) for w in rope_frequencies(rotated or np.shape(query)[1], base)]
    return tuple(rope_turn(x, p, frequencies, layout) for x, p in ((query, query_positions), (key, key_positions)))


def position_rope_ntk(
  query, key, query_positions, key_positions, factor=2.0, base=10000.0, layout="half", rotated=None
):  # fmt: skip
    """Rope with base ← base·factor^{R/(R−2)}, unless R = 2, whose only frequency is 1."""
    rotated = rotated or np.shape(query)[1]
    base = float(base) if rotated == 2 else float(base) * float(factor) ** (rotated / (rotated - 2))
    return position_rope(query, key, query_positions, key_positions, base, layout, rotated)


def position_rope_dynamic_ntk(
  query, key, query_positions, key_positions, length, original_length,
  factor=2.0, base=10000.0, layout="half", rotated=None,
):  # fmt: skip
    """Rope as ntk with factor ← max(1, factor·length/L − (factor − 1)), L the original length."""
    factor = max(1.0, float(factor) * int(length) / float(original_length) - (float(factor) - 1))
    return position_rope_ntk(query, key, query_positions, key_positions, factor, base, layout, rotated)


def position_rope_yarn(
  query, key, query_positions, key_positions, original_length,
  factor=2.0, fast=32.0, slow=1.0, base=10000.0, layout="half", rotated=None,
):  # fmt: skip
    """Rope with ωₘ ← rₘ ωₘ/factor + (1 − rₘ) ωₘ, r a ramp from 0 to 1, times 0.1 ln factor + 1 (Peng et al. 2023)."""
    rotated, factor = rotated or np.shape(query)[1], float(factor)

    def turning(turns):
        """The fractional m whose pair makes so many turns within the original length."""
        return rotated * math.log(float(original_length) / (2 * math.pi * float(turns))) / (2 * math.log(float(base)))

    low, high = max(math.floor(turning(fast)), 0), min(math.ceil(turning(slow)), rotated - 1)
    high = high + 0.001 if low == high else high
    frequencies = []
    for m, w in enumerate(rope_frequencies(rotated, base)):
        ramp = min(max((m - low) / (high - low), 0.0), 1.0)
        frequencies.append(ramp * w / factor + (1 - ramp) * w)
    amplitude = 0.1 * math.log(factor) + 1 if factor > 1 else 1.0
    query = rope_turn(query, query_positions, frequencies, layout, amplitude)
    key = rope_turn(key, key_positions, frequencies, layout, amplitude)
    return query, key


def position_rope_llama3(
  query, key, query_positions, key_positions, original_length,
  factor=8.0, low=1.0, high=4.0, base=10000.0, layout="half", rotated=None,
):  # fmt: skip
    """Rope with ω/factor below `low` turns in the original length, ω above `high`, a blend between (Llama 3, 2024)."""
    frequencies = []
    for w in rope_frequencies(rotated or np.shape(query)[1], base):
        wavelength = 2 * math.pi / w
        if wavelength > float(original_length) / float(low):
            frequencies.append(w / float(factor))
        elif wavelength < float(original_length) / float(high):
            frequencies.append(w)
        else:
            share = (float(original_length) / wavelength - float(low)) / (float(high) - float(low))
            frequencies.append((1 - share) * w / float(factor) + share * w)
    return tuple(rope_turn(x, p, frequencies, layout) for x, p in ((query, query_positions), (key, key_positions)))


def position_xpos(
  query, key, query_positions, key_positions, length, base=10000.0, layout="half", scale_base=512.0, gamma=0.4
):  # fmt: skip
    """Rope, then qᵢₘ ← ζₘ^{(pᵢ−c)/scale_base} qᵢₘ and kⱼₘ ← ζₘ^{−(pⱼ−c)/scale_base} kⱼₘ, ζₘ = (2m/K + γ)/(1 + γ)."""
    query, key = position_rope(query, key, query_positions, key_positions, base, layout)
    centre, width = int(length) // 2, query.shape[1]
    for vectors, positions, sign in ((query, query_positions, 1), (key, key_positions, -1)):
        for t in range(len(vectors)):
            exponent = sign * (int(positions[t]) - centre) / float(scale_base)
            for m, pair in enumerate(rope_pairs(width, layout)):
                for k in pair:
                    vectors[t, k] *= ((2 * m / width + float(gamma)) / (1 + float(gamma))) ** exponent
    return query, key


def position_axial_rope(query, key, query_positions, key_positions, columns, base=100.0, layout="half"):
    """Rope with the row on the first K/2 coordinates and the column on the others, p = row·columns + column."""

    def rotate(vectors, positions):
        vectors = double(vectors)
        half, rest = divmod(vectors.shape[1], 2)
        if rest or half % 2:
            raise ValueError(f"the width must be divisible by 4, got {vectors.shape[1]}")
        rows = rope_rotate(vectors[:, :half], [int(p) // columns for p in positions], base, layout, None)
        rest = rope_rotate(vectors[:, half:], [int(p) % columns for p in positions], base, layout, None)
        return np.concatenate([rows, rest], axis=1)

    return rotate(query, query_positions), rotate(key, key_positions)


def clipped(distance, rows):
    """The row of a table of 2m + 1 rows for a distance: clip(n, −m, m) + m."""
    m = (rows - 1) // 2
    return min(max(distance, -m), m) + m


def position_shaw(query, key, query_positions, key_positions, table):
    """xᵢⱼ = qᵢ·(kⱼ + a_{clip(pⱼ−pᵢ, −m, m)+m}) / √K (Shaw et al. 2018)."""
    query, key, rows = double(query), double(key), double(table)

    def entry(i, j):
        row = rows[clipped(int(key_positions[j]) - int(query_positions[i]), len(rows))]
        return (dot(query[i], key[j]) + dot(query[i], row)) / math.sqrt(query.shape[1])

    return helpers.table(len(query), len(key), entry)


def position_shaw_value(weights, value, query_positions, key_positions, table):
    """yᵢ = Σⱼ wᵢⱼ (vⱼ + a_{clip(pⱼ−pᵢ, −m, m)+m}) (Shaw et al. 2018)."""
    weights, value, rows = double(weights), double(value), double(table)

    def entry(i, v):
        total = 0.0
        for j in range(len(value)):
            row = rows[clipped(int(key_positions[j]) - int(query_positions[i]), len(rows))]
            total += weights[i, j] * (value[j, v] + row[v])
        return total

    return helpers.table(len(weights), value.shape[1], entry)


def position_transformer_xl(
  query, key, query_positions, key_positions, content_bias, position_bias, weight, base=10000.0
):  # fmt: skip
    """xᵢⱼ = ((qᵢ + u)·kⱼ + (qᵢ + v)·Wᵀe(pᵢ − pⱼ)) / √K, e(n) = [sin nωₘ …, cos nωₘ …] (Dai et al. 2019)."""
    query, key, weight = double(query), double(key), double(weight)
    content_bias, position_bias = double(content_bias), double(position_bias)
    frequencies = rope_frequencies(len(weight), base)

    def entry(i, j):
        distance = int(query_positions[i]) - int(key_positions[j])
        wave = [math.sin(distance * w) for w in frequencies] + [math.cos(distance * w) for w in frequencies]
        projected = [dot(weight[:, k], wave) for k in range(query.shape[1])]
        content = dot([q + u for q, u in zip(query[i], content_bias, strict=True)], key[j])
        return (content + dot(query[i], projected) + dot(position_bias, projected)) / math.sqrt(query.shape[1])

    return table(len(query), len(key), entry)


def position_deberta(query, key, query_positions, key_positions, key_table=None, query_table=None):
    """xᵢⱼ = (qᵢ·kⱼ + qᵢ·a_δ(i,j) + kⱼ·b_δ(j,i))/√(K(1+tables)), δ(i,j) = clip(pᵢ−pⱼ+m, 0, 2m−1) (He et al. 2021)."""
    query, key = double(query), double(key)
    tables = [double(rows) for rows in (key_table, query_table) if rows is not None]
    if not tables:
        raise ValueError("key_table or query_table must be given")
    scale = math.sqrt(query.shape[1] * (1 + len(tables)))

    def row(rows, distance):
        return double(rows)[min(max(distance + len(rows) // 2, 0), len(rows) - 1)]

    def entry(i, j):
        distance = int(query_positions[i]) - int(key_positions[j])
        total = dot(query[i], key[j])
        if key_table is not None:
            total += dot(query[i], row(key_table, distance))
        if query_table is not None:
            total += dot(key[j], row(query_table, -distance))
        return total / scale

    return table(len(query), len(key), entry)


def pair_bias(query_positions, key_positions, bias):
    """bᵢⱼ = bias(pᵢ, pⱼ)."""
    rows, columns = [int(p) for p in query_positions], [int(p) for p in key_positions]
    return table(len(rows), len(columns), lambda i, j: bias(rows[i], columns[j]))


def t5_bucket(distance, buckets, bidirectional, maximum_distance):
    """n itself, then ⌊log⌋ of it, and the last for all that is far; in whole numbers, so that floors are exact."""
    offset = 0
    if bidirectional:
        buckets //= 2
        offset = buckets if distance > 0 else 0
        distance = abs(distance)
    else:
        distance = max(-distance, 0)
    exact = buckets // 2
    if distance < exact:
        return distance + offset
    steps, step = buckets - exact, 0
    # ln(n/e)/ln(D/e)·steps ≥ s  ⟺  (n/e)^steps ≥ (D/e)^s  ⟺  n^steps·e^s ≥ D^s·e^steps
    while step < steps - 1 and (
        distance**steps * exact ** (step + 1) >= int(maximum_distance) ** (step + 1) * exact**steps
    ):
        step += 1
    return exact + step + offset


def position_t5(query_positions, key_positions, table, bidirectional=True, maximum_distance=128):
    """bᵢⱼ = the entry of the table for the bucket of pⱼ − pᵢ (Raffel et al. 2020)."""
    values = double(table)

    def bias(query, key):
        return values[t5_bucket(key - query, len(values), bidirectional, maximum_distance)]

    return pair_bias(query_positions, key_positions, bias)


def position_kerple_log(query_positions, key_positions, amplitude, rate):
    """bᵢⱼ = −amplitude·ln(1 + rate·|pᵢ − pⱼ|) (Chi et al. 2022)."""
    amplitude, rate = float(amplitude), float(rate)
    return pair_bias(query_positions, key_positions, lambda i, j: -amplitude * math.log(1 + rate * abs(i - j)))


def position_kerple_power(query_positions, key_positions, amplitude, exponent):
    """bᵢⱼ = −amplitude·|pᵢ − pⱼ|^exponent, 0 at distance 0 (Chi et al. 2022)."""
    amplitude, exponent = float(amplitude), float(exponent)
    return pair_bias(
        query_positions, key_positions, lambda i, j: -amplitude * float(abs(i - j)) ** exponent if i != j else 0.0
    )


def position_fire(
  query_positions, key_positions, hidden_weight, hidden_bias, readout, readout_bias,
  curvature=0.1, threshold=512.0, epsilon=1e-6,
):  # fmt: skip
    """bᵢⱼ = rᵀ relu(a u + b) + d, u = ψ(|pᵢ−pⱼ|)/(ψ(max(pᵢ, |L|)) + ε), ψ(x) = ln(|c| x + 1) (Li et al. 2024)."""
    hidden_weight, hidden_bias, readout = double(hidden_weight), double(hidden_bias), double(readout)

    def warped(x):
        return math.log(abs(float(curvature)) * x + 1)

    def bias(i, j):
        u = warped(abs(i - j)) / (warped(max(float(i), abs(float(threshold)))) + float(epsilon))
        hidden = [max(w * u + b, 0.0) for w, b in zip(hidden_weight, hidden_bias, strict=True)]
        return dot(readout, hidden) + float(readout_bias)

    return pair_bias(query_positions, key_positions, bias)


def position_forgetting(query_positions, key_positions, query_sum, key_sum):
    """bᵢⱼ = cᵢ − cⱼ where pⱼ ≤ pᵢ, else cⱼ − cᵢ; cₜ = Σ_{l≤t} log fₗ, of forget gates f (Lin et al. 2025)."""

    def entry(i, j):
        difference = float(query_sum[i]) - float(key_sum[j])
        return difference if key_positions[j] <= query_positions[i] else -difference

    return table(len(query_positions), len(key_positions), entry)


def position_sinusoidal_2d(positions, width, columns, base=10000.0):
    """e = [sinusoidal(row), sinusoidal(column)], each of width D/2, p = row·columns + column."""
    if width % 4:
        raise ValueError(f"the width must be divisible by 4, got {width}")
    rows = position_sinusoidal([int(p) // columns for p in positions], width // 2, base)
    rest = position_sinusoidal([int(p) % columns for p in positions], width // 2, base)
    return np.concatenate([rows, rest], axis=1)


def position_learned_2d(positions, row_table, column_table):
    """e = [row_tableᵣ, column_table_c], p = r·C + c, C the columns; NaN for a position outside of the R rows."""
    row_table, column_table = double(row_table), double(column_table)
    result = np.full((len(positions), row_table.shape[1] + column_table.shape[1]), math.nan)
    for t, position in enumerate(positions):
        row, column = divmod(int(position), len(column_table))
        if 0 <= row < len(row_table):
            result[t] = [*row_table[row], *column_table[column]]
    return result
