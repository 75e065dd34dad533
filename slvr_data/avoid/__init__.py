"""Pictures that a set must not hold in train, found again however they were cropped, scaled or encoded.

`given` finds what a person names: folders of pictures, published sets, Parquet, Arrow and TSV files; `columns` and
`reading` read it. `features` describes a picture, `index` holds the descriptions of all avoided pictures, `search`
proposes the few that a picture may come from, and `verify` decides. Needs the extra `avoid` (OpenCV), for SIFT alone.
"""
