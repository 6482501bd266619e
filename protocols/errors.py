"""Errors that a person at the rig can act on: what was found, what was expected, the likely cause, the way out."""

from __future__ import annotations

CODES = {
    "B01": "Photographs cannot be replaced after they were exported or recorded.",
    "B02": "A recording made elsewhere answers to images that are not among the given photographs.",
    "B03": "A recording made elsewhere was taken only in part.",
    "B04": "A recording made elsewhere is the answer to a round of this project.",
    "B05": "The record of a recording made elsewhere cannot be read.",
    "B06": "The baseline recording is gone, after it was used.",
    "B07": "A recording made elsewhere has one row per image, and does not say that they are averages.",
    "C01": "The file project.toml has an unknown section or key.",
    "C02": "A key of project.toml is missing, or its value has a wrong type or range.",
    "C03": "The file project.toml is not TOML.",
    "C04": "Two keys of project.toml contradict each other.",
    "C05": "The file project.toml names a path outside the project folder.",
    "C06": "There is no project.toml.",
    "C07": "The photographs were imported for another display than that of project.toml.",
    "C08": "A round was shown on another display than that of project.toml.",
    "C09": "A network, a layer or weights that [encoder] names cannot be opened.",
    "C11": "A site that is named as a target was not recorded.",
    "C12": "Photographs or the baseline recording are gone, though later files were made from them.",
    "C13": "Project.toml and a recording name different response windows.",
    "C14": "The photographs cannot be split into fitted and held-out ones.",
    "C15": "The times or repeats of [protocol] cannot give a usable recording.",
    "C16": "No image of this display has the mean and contrast of [synthesis].",
    "C17": "No recorded site is reliable enough to be controlled.",
    "C18": "An objective needs more sites than there are.",
    "C19": "The presentations of a round are too few for its images or its tests.",
    "D01": "The project has no recorded baseline.",
    "D02": "Responses belong to images that the project does not hold.",
    "D03": "The rounds were recorded in different units.",
    "D05": "No site is reliable enough to be fitted.",
    "D06": "No encoder was fitted for the round.",
    "D07": "A site that is named as a target cannot be controlled.",
    "D08": "The encoder that networks_from names cannot be used.",
    "D09": "The projects cannot share one trunk, or there is no place to write it.",
    "E01": "The responses and the key share no image.",
    "E02": "The key holds no controller.",
    "E03": "Responses and predictions are in different units.",
    "E04": "The responses to natural images spread more or less than in the baseline.",
    "E05": "A site and objective have no confirmatory controller, or several.",
    "E06": "No test can reach the level alpha with so few repeats or permutations.",
    "E07": "The responses and the key share no target site.",
    "E08": "A file is not a control report.",
    "E09": "A site to exclude is not known, or no reason is given.",
    "F01": "A file is not JSON.",
    "F02": "A file name leads out of its folder.",
    "F03": "The file of readouts to compare cannot be used.",
    "F04": "No site is reliable enough to compare readouts on.",
    "F10": "The disk is full.",
    "F11": "A table cannot be taken apart.",
    "F12": "A file or folder cannot be written.",
    "G01": "The prior of the diffusion generator cannot be opened.",
    "I01": "There is no finished answer in the inbox.",
    "I03": "The round was ingested already, from another file.",
    "I04": "The responses file changed while it was read.",
    "I05": "The responses name the manifest of another round.",
    "I06": "The responses name another session or round.",
    "I07": "The responses name an image that was not shown in the round.",
    "I08": "The responses are in another unit than those that the encoder was fitted to.",
    "I09": "The responses lack sites of the encoder, or name unknown ones.",
    "I10": "A presentation is in the responses twice, or an image more often than planned.",
    "I11": "Blocks and repetitions in the responses contradict the planned order.",
    "I12": "Too many planned images have no usable trial.",
    "I13": "Too many trials are marked invalid.",
    "I14": "The values do not fit the stated unit.",
    "I15": "The responses are much larger or smaller than in the baseline.",
    "I16": "No site varies between trials.",
    "I17": "The response window does not fit the presentation.",
    "I18": "The sealed key is not the one of the export.",
    "I19": "The record of the ingest cannot be read.",
    "I20": "The clock of the presentations runs back, and the order shown cannot be known.",
    "I21": "The responses name another subject than earlier recordings of the project.",
    "I22": "The response window is not that of the baseline.",
    "I23": "The answer in the inbox is a link that leads out of the project.",
    "I24": "Parts of the answer are missing.",
    "I25": "A presentation is usable in two parts of the answer.",
    "I26": "The parts of the answer differ in unit, window, subject or sites.",
    "I27": "A part of the answer does not hold what its name says.",
    "I28": "It cannot be known which presentations the rows of a part are.",
    "K01": "A column of the key is missing.",
    "K02": "A row of the key cannot be read.",
    "K03": "The column reference_for of the key names no objective and site.",
    "K04": "The key lists no natural image for any of its controllers.",
    "K05": "The key names no objective that is known.",
    "L01": "No interim look of the round is due.",
    "L02": "The recording of an interim look lacks trials of its blocks, or holds later ones.",
    "L03": "The interim look was made already, from another file.",
    "L04": "The record of an interim look is missing or cannot be read.",
    "L05": "The recording of the blocks before an interim look is not there.",
    "M01": "The folder of the demo holds other files.",
    "P01": "A PNG file is damaged.",
    "P02": "A PNG file is not 8-bit grey or RGB.",
    "P03": "There is no table of imported photographs, or it cannot be read.",
    "P04": "Imported photographs are missing or altered.",
    "P05": "A folder holds too few photographs.",
    "P06": "Photographs cannot be used.",
    "P07": "Two photographs would get the same id.",
    "P08": "The same picture is there twice, in different groups.",
    "P09": "The file groups.csv cannot be used.",
    "P10": "The round to report is not evaluated yet.",
    "P11": "The report page would be too large.",
    "P12": "A built-in photograph is damaged.",
    "P13": "A manifest holds settings that this version does not know.",
    "R01": "The responses file is not HDF5.",
    "R02": "The responses file is a MAT-file of another schema.",
    "R03": "The responses file cannot be read to its end.",
    "R04": "The responses file lacks an item.",
    "R05": "An item of the responses file has another type or shape than expected.",
    "R06": "The dimensions of an item do not fit the others.",
    "R07": "The order of the dimensions cannot be known.",
    "R08": "The images of the responses file cannot be identified.",
    "R09": "The unit is missing or unknown.",
    "R10": "The response window is missing or malformed.",
    "R11": "The site ids are missing, malformed or not unique.",
    "R12": "Responses in time bins come without usable bin edges.",
    "R13": "A column has another length or other values than expected.",
    "R14": "The responses file is still being written.",
    "R15": "The responses hold infinite values.",
    "R16": "There is no responses file.",
    "R17": "No reader knows the ending of the file's name.",
    "R18": "A responses file is not of the format that its ending names.",
    "R19": "Numbers of the responses file have too few digits for what they tell apart.",
    "R20": "What the responses file says of its own numbers cannot be read or obeyed.",
    "R21": "The responses hold numbers that no recording gives.",
    "R22": "The responses are images x repeats x sites.",
    "R23": "A compression of the responses file is not installed.",
    "R24": "The responses file has another schema.",
    "R25": "Rows of the responses were never filled.",
    "R26": "A number stands for missing responses, and the file does not say so.",
    "S01": "There is no project in the folder.",
    "S02": "The name of a session or round folder is not valid.",
    "S03": "Two rounds have the same number.",
    "S04": "The round does not exist.",
    "S05": "The folder holds a project already.",
    "S06": "The record of a fit cannot be used.",
    "S07": "The files of a fitted encoder are missing or damaged.",
    "T01": "Photographs that the last fit held out would be fitted now.",
    "T02": "The round to refit for has controllers already.",
    "T03": "The round to fit has images already, made by the encoder that would be replaced.",
    "U01": "There is no manifest of a round in its project.",
    "U02": "The folder to write the reproduction into is not empty.",
    "U03": "The encoder or the controllers of the record are gone.",
    "U04": "A starting image of the record is gone.",
    "U05": "Images of this generator cannot be made again.",
    "U06": "The device is not available here.",
    "W01": "The file of objectives cannot be read, or holds none.",
    "W02": "The file of objectives has an unknown key or kind.",
    "W03": "The file of objectives names an unknown site.",
    "W04": "The file of objectives has a value that its objective refuses.",
    "W05": "The output folder exists already.",
    "W06": "Options of the command line are unknown, or do not go together.",
    "X01": "The round has an outbox already.",
    "X02": "The encoder was fitted for another display.",
    "X03": "An image has another size or type than the display.",
    "X04": "A controller does not satisfy the display's constraints at 8 bits.",
    "X05": "A written image was read back with other pixels.",
    "X06": "The outbox is not finished.",
    "X07": "The outbox was altered.",
    "Y01": "Data of recorded V4 sites are missing.",
    "Y02": "The subject folder exists already.",
    "Y03": "The subject folder cannot be read.",
    "Y04": "The simulated rig finds an outbox that is not finished.",
    "Y05": "The simulated rig finds an outbox that was altered.",
    "Y06": "The simulated rig cannot use the order of the trials.",
    "Y07": "There are no images to calibrate a simulated subject on.",
    "Y08": "The inbox holds an answer already.",
    "Z01": "A sequence of images exceeds the limits of [safety] for a human subject.",
}
"""Every error code and what it means. Each code is raised by one module; codes are never used again for something
else.
"""
UNFINISHED = ("I01", "I04", "R01", "R03", "R14", "R16")
"""Codes of an answer that is not whole, or not there, and may be in a moment: `run --timeout` waits for it."""


UNUSABLE = (ValueError, OSError, ImportError, RuntimeError, LookupError, TypeError, AttributeError)
"""What libraries raise, and our own code on top of them, where a file of somebody else is not what it should be."""


class DataError(ValueError):
    """Invalid data or project state (exit code 3). Nothing has been changed on disk when it is raised.

    Parameters
    ----------
    where : str
        The file or folder, as the user would name it.
    found, expected : str
        What stands there and what should.
    cause, fix : str
        The likely cause and the way out, each one sentence.
    code : str
        Short stable code, one of `CODES`; tests and scripts match on it.
    """

    def __init__(self, where: str, *, found: str, expected: str, cause: str, fix: str, code: str) -> None:
        self.where, self.found, self.expected, self.cause, self.fix, self.code = (
            where,
            found,
            expected,
            cause,
            fix,
            code,
        )
        super().__init__(
            f"error[{code}] {where}: found {found}; expected {expected}. Likely cause: {cause}. Fix: {fix}."
        )


class SafetyStop(RuntimeError):
    """A display limit would be exceeded (exit code 5)."""
