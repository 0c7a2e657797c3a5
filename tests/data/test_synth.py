"""The synthetic generator: the same from the same seed, true to the format, and worth learning from."""

import math
import zipfile
from collections import Counter
from itertools import chain

import msgspec
import numpy as np
import pytest
import shapely

from serinus.core.errors import InvalidInput
from serinus.data.convert import convert, parse_label
from serinus.data.dataset import Split
from serinus.data.importing import import_archive
from serinus.data.synth import (
    Disaster,
    Labels,
    SynthSet,
    png_pair,
    synth_tile,
    write_sets,
    write_zip,
    zip_bytes,
)
from serinus.data.synth.plan import BANDS, MIX, plan_tile
from serinus.data.synth.scenery import Hazard
from serinus.data.xbd import CLASSES, Subtype
from serinus.imagery.decode import decode

EVENTS = list(Disaster)


@pytest.fixture(scope="module")
def plans():
    return {event: [plan_tile(7, event, tile, 256) for tile in range(40)] for event in EVENTS}


@pytest.fixture(scope="module")
def tiles():
    return {event: [synth_tile(7, event, tile) for tile in range(8)] for event in EVENTS}


def test_equal_seeds_give_equal_tiles_and_any_tile_can_be_made_alone(tiles):
    for event in EVENTS:
        again = synth_tile(7, event, 5)
        first = tiles[event][5]
        assert np.array_equal(again.pre, first.pre)
        assert np.array_equal(again.post, first.post)
        assert (again.pre_label, again.post_label) == (first.pre_label, first.post_label)


def test_other_seeds_tiles_and_disasters_differ():
    made = [
        synth_tile(*key).post.tobytes()
        for key in [
            (7, "synth-hurricane", 0),
            (8, "synth-hurricane", 0),
            (7, "synth-hurricane", 1),
            (7, "synth-wildfire", 0),
        ]
    ]
    assert len(set(made)) == 4


def test_pictures_are_rgb_bytes_of_the_size():
    tile = synth_tile(1, Disaster.HURRICANE, 0, 512)
    assert tile.pre.shape == tile.post.shape == (512, 512, 3)
    assert tile.pre.dtype == tile.post.dtype == np.uint8
    assert tile.stem == "synth-hurricane_00000000"


def test_buildings_are_as_many_and_as_large_as_promised(plans):
    for plan in [plan for made in plans.values() for plan in made]:
        assert 8 <= len(plan.buildings) <= 18
        for one in plan.buildings:
            assert 14 <= one.depth <= one.width <= 40
            assert one.corners().min() >= 0
            assert one.corners().max() <= 256


def test_buildings_touch_neither_each_other_nor_roads(plans):
    for plan in plans[Disaster.HURRICANE][:20]:
        shapes = [shapely.Polygon(one.corners()) for one in plan.buildings]
        assert all(one.is_valid for one in shapes)
        for number, one in enumerate(shapes):
            assert not any(one.intersects(other) for other in shapes[:number])
            for road in plan.roads:
                assert one.distance(shapely.LineString(road.points)) > road.width / 2


def test_larger_tiles_hold_more_buildings():
    assert 32 <= len(plan_tile(3, Disaster.WILDFIRE, 0, 1024).buildings) <= 72


def test_the_mix_is_the_documented_one(plans):
    for made in plans.values():
        counts = Counter(one.damage for plan in made for one in plan.buildings)
        total = sum(counts.values())
        for damage, share in MIX.items():
            assert abs(counts[damage] / total - share) < 4 * math.sqrt(share * (1 - share) / total)


def test_bands_of_damage_do_not_touch(plans):
    assert BANDS[Subtype.MINOR][1] < BANDS[Subtype.MAJOR][0]
    for one in [one for made in plans.values() for plan in made for one in plan.buildings]:
        low, high = BANDS.get(one.damage, (0, 0))
        assert low <= one.extent <= high


def test_hazards_fit_their_disasters(plans):
    assert {plan.hazard for plan in plans[Disaster.HURRICANE]} == {Hazard.WIND, Hazard.FLOOD}
    assert {plan.hazard for plan in plans[Disaster.WILDFIRE]} == {Hazard.FIRE}


def test_damage_can_be_seen_and_grows_with_its_class(tiles):
    """The share of a footprint's pixels that changed, per class: what a detector has to go by."""
    for event in EVENTS:
        changed = {damage: [] for damage in CLASSES}
        for number, tile in enumerate(tiles[event]):
            gain = tile.post.reshape(-1, 3).mean(0) / tile.pre.reshape(-1, 3).mean(0)
            difference = np.abs(tile.post - tile.pre * gain).max(axis=2)
            for one in plan_tile(7, event, number, 256).buildings:
                if one.damage in changed:
                    x1, y1 = np.floor(one.corners().min(axis=0)).astype(int)
                    x2, y2 = np.ceil(one.corners().max(axis=0)).astype(int)
                    ys, xs = np.mgrid[y1:y2, x1:x2]
                    inside = shapely.contains_xy(shapely.Polygon(one.corners()), xs, ys)
                    changed[one.damage].append((difference[y1:y2, x1:x2][inside] > 45).mean())
        medians = [float(np.median(shares)) for shares in changed.values()]
        assert medians[0] < 0.12
        assert medians == sorted(medians)
        assert medians[1] > medians[0] + 0.03
        assert medians[2] > medians[1] + 0.1
        assert medians[3] > 0.35


def test_labels_are_whole_xbd(tiles):
    wanted = {"sensor", "provider_asset_type", "gsd", "capture_date", "off_nadir_angle", "pan_resolution"}
    wanted |= {"sun_azimuth", "sun_elevation", "target_azimuth", "disaster", "disaster_type", "catalog_id"}
    wanted |= {"original_width", "original_height", "width", "height", "id", "img_name"}
    tile = tiles[Disaster.HURRICANE][2]
    pre, post = parse_label(tile.pre_label), parse_label(tile.post_label)
    for label in (pre, post):
        assert wanted <= label.metadata.keys()
        assert label.metadata["provider_asset_type"] == "SYNTHETIC"
        assert label.metadata["width"] == label.metadata["height"] == 256
        uids = [feature.properties.uid for feature in label.features.xy]
        assert uids == [feature.properties.uid for feature in label.features.lng_lat]
        assert len(set(uids)) == len(uids)
        assert {feature.properties.feature_type for feature in label.features.xy} == {"building"}
    assert [feature.properties.uid for feature in pre.features.xy] == [
        feature.properties.uid for feature in post.features.xy
    ]
    assert pre.metadata["img_name"] == "synth-hurricane_00000002_pre_disaster.png"
    assert b"subtype" not in tile.pre_label
    assert all(feature.properties.subtype in set(Subtype) for feature in post.features.xy)


def test_degrees_are_an_affine_of_the_pixels(tiles):
    label = parse_label(tiles[Disaster.WILDFIRE][3].post_label)
    xy, lng_lat = (
        np.concatenate([shapely.get_coordinates(shapely.from_wkt(feature.wkt)) for feature in features])
        for features in (label.features.xy, label.features.lng_lat)
    )
    design = np.column_stack([xy, np.ones(len(xy))])
    fitted, *_ = np.linalg.lstsq(design, lng_lat, rcond=None)
    assert np.abs(design @ fitted - lng_lat).max() < 1e-7
    assert fitted[0, 0] > 0 > fitted[1, 1]


def test_labels_match_the_plan(tiles):
    for event in EVENTS:
        for number, tile in enumerate(tiles[event]):
            found = convert(parse_label(tile.post_label), width=256, height=256)
            plan = plan_tile(7, event, number, 256)
            classified = [one for one in plan.buildings if one.damage is not Subtype.UN_CLASSIFIED]
            assert len(found.boxes) == len(classified)
            for box, one in zip(found.boxes, classified, strict=True):
                corners = one.corners()
                assert np.allclose(box, [*corners.min(axis=0), *corners.max(axis=0)], atol=0.01)


def labels_of(path):
    with zipfile.ZipFile(path) as archive:
        return {
            name: [feature.properties.subtype for feature in parse_label(archive.read(name)).features.xy]
            for name in archive.namelist()
            if name.endswith("_post_disaster.json")
        }


def test_archives_of_equal_seeds_are_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_zip(tmp_path / f"{name}.zip", "synth-hurricane", 3, 128, 5)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    write_zip(tmp_path / "c.zip", "synth-hurricane", 3, 128, 6)
    assert (tmp_path / "a.zip").read_bytes() != (tmp_path / "c.zip").read_bytes()


def test_shuffled_labels_keep_the_pictures_the_boxes_and_the_counts(tmp_path):
    write_zip(tmp_path / "true.zip", "synth-hurricane", 8, 128, 5)
    write_zip(tmp_path / "mixed.zip", "synth-hurricane", 8, 128, 5, labels="shuffled")
    true, mixed = labels_of(tmp_path / "true.zip"), labels_of(tmp_path / "mixed.zip")
    assert {name: len(found) for name, found in true.items()} == {
        name: len(found) for name, found in mixed.items()
    }
    assert Counter(chain(*true.values())) == Counter(chain(*mixed.values()))
    same = sum(a == b for name in true for a, b in zip(true[name], mixed[name], strict=True))
    assert same < 0.7 * sum(map(len, true.values()))
    with zipfile.ZipFile(tmp_path / "true.zip") as one, zipfile.ZipFile(tmp_path / "mixed.zip") as other:
        for name in one.namelist():
            assert name.endswith("post_disaster.json") or one.read(name) == other.read(name)


def test_the_importer_takes_it_whole(tmp_path):
    moves = []
    write_zip(
        tmp_path / "a.zip", "synth-wildfire", 8, 128, progress=lambda done, total: moves.append((done, total))
    )
    assert moves == [(number, 8) for number in range(1, 9)]
    report = import_archive(tmp_path / "a.zip", tmp_path / "datasets", clock=lambda: 0.0).report
    assert (report.pairs_found, report.pairs_usable) == (8, 8)
    assert {one.severity for one in report.issues} == {"warn"}
    assert report.per_disaster.keys() == {"synth-wildfire"}


def test_two_disasters_and_a_test_folder_in_one_archive(tmp_path):
    sets = [
        SynthSet(disaster=Disaster.HURRICANE, pairs=2, size=128),
        SynthSet(disaster=Disaster.WILDFIRE, pairs=2, size=128, first=50, folder="hold"),
    ]
    write_sets(tmp_path / "a.zip", sets)
    assert (tmp_path / "a.zip").read_bytes() == zip_bytes(sets)
    dataset = import_archive(tmp_path / "a.zip", tmp_path / "datasets", clock=lambda: 0.0)
    held = {pair.key for pair in dataset.pairs(Split.TEST)}
    assert {"synth-wildfire_00000050", "synth-wildfire_00000051"} <= held
    assert len(dataset.pairs()) == 4


def test_sets_that_start_elsewhere_share_no_tile(tmp_path):
    write_zip(tmp_path / "a.zip", "synth-hurricane", 2, 128)
    write_zip(tmp_path / "b.zip", "synth-hurricane", 2, 128, first=2)
    hashes = [
        {
            pair.sha256_post
            for pair in import_archive(tmp_path / f"{name}.zip", tmp_path / "d", clock=lambda: 0.0).pairs()
        }
        for name in "ab"
    ]
    assert not hashes[0] & hashes[1]


def test_an_edge_tile_is_a_part_of_its_tile(tiles):
    whole = tiles[Disaster.HURRICANE][4]
    pre, post = (
        decode(data, max_pixels=10**6) for data in png_pair(7, "synth-hurricane", 4, height=192, width=200)
    )
    assert np.array_equal(pre, whole.pre[:192, :200])
    assert np.array_equal(post, whole.post[:192, :200])


def test_a_broken_run_leaves_no_archive(tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_zip(tmp_path / "a.zip", "synth-hurricane", 2, 128, progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"disaster": "synth-flood"},
        {"labels": "random"},
        {"pairs": 0},
        {"size": 100},
        {"size": 10_000},
        {"first": -1},
    ],
)
def test_what_cannot_be_made_is_refused_in_words(tmp_path, wrong):
    wanted = {"disaster": "synth-hurricane", "pairs": 2} | wrong
    with pytest.raises(InvalidInput):
        write_zip(tmp_path / "a.zip", **wanted)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_disaster_is_named():
    with pytest.raises(InvalidInput, match="synth-flood"):
        synth_tile(0, "synth-flood", 0)


def test_kinds_of_labels_are_plain_words():
    assert [str(kind) for kind in Labels] == ["true", "shuffled"]
    assert msgspec.json.encode(Labels.TRUE) == b'"true"'
